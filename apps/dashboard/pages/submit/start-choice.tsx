import { externalInput, idOf } from '@cairn/contract';
import { Button, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import { runQuery } from '../../app/queries.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { Dropdown } from '../../parts/dropdown.tsx';
import { runLooks } from '../../parts/looks.ts';
import { formatMap } from '../../parts/numbers.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago } from '../../parts/time.tsx';
import type { StageStart } from './stage-start.ts';
import classes from './submit.module.css';
import { modelNamesQuery, weightNamesQuery } from './suggestions.ts';

const typingPauseMs = 250;
/** Found things of a kind. */
const most = 6;

type Props = { setting: string; onChoose: (start: StageStart) => void };

/** Chooses the checkpoint that a stage starts from: of a registered model, of a stage of another run, or an imported one. */
export function StartChoice({ setting, onChoose }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <Dropdown label="Choose …" name={`Choose a checkpoint for ${setting}`} onOpen={() => setOpen(true)}>
      {isOpen && <Starts onChoose={onChoose} />}
    </Dropdown>
  );
}

function Starts({ onChoose }: Pick<Props, 'onChoose'>) {
  const { client } = useServices();
  const [text, setText] = useState('');
  const [q] = useDebouncedValue(text.trim(), typingPauseMs);
  const models = useQuery(modelNamesQuery(client));
  const weights = useQuery(weightNamesQuery(client));
  const runs = useQuery({
    queryKey: [...keys.runs, 'starts', q],
    queryFn: ({ signal }) => client.listRuns({ limit: most, ...(q === '' ? {} : { q }) }, { signal }),
    placeholderData: keepPreviousData,
  });
  const isFound = ({ name }: { name: string }): boolean => name.toLowerCase().includes(text.trim().toLowerCase());
  const none = <p className={classes.dim}>None is found.</p>;
  return (
    <div className={classes.starts}>
      <TextInput
        size="xs"
        type="search"
        aria-label="Search models, runs and imports"
        placeholder="A model, a run or imported weights"
        maxLength={100}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <h3>Registered models</h3>
      <Answer of={models}>
        {({ items }) => {
          const found = items.filter(isFound).slice(0, most);
          if (found.length === 0) return none;
          return found.map(({ id, name, version, metrics: { mapAt100 } }) => (
            <Start
              key={id}
              name={`${name}@${version}`}
              note={mapAt100 === undefined ? '' : `mAP@100 ${formatMap(mapAt100)}`}
              onChoose={() => onChoose({ from: { model: `${name}@${version}` }, weights: null })}
            />
          ));
        }}
      </Answer>
      <h3>Stages of runs</h3>
      <Answer of={runs}>
        {({ items }) =>
          items.length === 0
            ? none
            : items.map((run) => (
                <Stages
                  key={run.id}
                  runId={run.id}
                  title={
                    <>
                      <StateBadge look={runLooks[run.state]} /> {run.name}{' '}
                      <span className={classes.dim}>
                        <Ago at={run.createdAt} />
                      </span>
                    </>
                  }
                  onChoose={onChoose}
                />
              ))
        }
      </Answer>
      <h3>Imported weights</h3>
      <Answer of={weights}>
        {({ items }) => {
          const found = items.filter((one) => one.content !== 'matcher' && isFound(one)).slice(0, most);
          if (found.length === 0) return none;
          return found.map(({ name, content, backbone }) => (
            <Start
              key={name}
              name={name}
              note={content === 'model' ? `whole model, ${backbone}` : backbone}
              onChoose={() => onChoose({ from: 'init', weights: name })}
            />
          ));
        }}
      </Answer>
    </div>
  );
}

/** A run, which opens to its stages that have a checkpoint. */
function Stages({ runId, title, onChoose }: { runId: string; title: ReactNode } & Pick<Props, 'onChoose'>) {
  const { client } = useServices();
  const [isOpen, setOpen] = useState(false);
  const run = useQuery({ ...runQuery(client, runId), enabled: isOpen });
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{title}</summary>
      {isOpen && (
        <Answer of={run}>
          {({ stepViews }) => {
            const stages = stepViews.filter(({ kind, artifact }) => kind === 'train' && artifact !== null);
            if (stages.length === 0) return <p className={classes.dim}>None of its stages has a result.</p>;
            return stages.map(({ name, scores }) => (
              <Start
                key={name}
                name={name}
                note={scores.mapAt100 === undefined ? '' : `mAP@100 ${formatMap(scores.mapAt100)}`}
                onChoose={() => onChoose({ from: { run: runId, step: name }, weights: null })}
              />
            ));
          }}
        </Answer>
      )}
    </details>
  );
}

function Start({ name, note, onChoose }: { name: string; note: string; onChoose: () => void }) {
  return (
    <Button variant="subtle" size="compact-sm" justify="space-between" data-chooses rightSection={<span>{note}</span>} onClick={onChoose}>
      {name}
    </Button>
  );
}

/** Says in words, with a link, what a stage starts from where another run made it. */
export function StartSource({ value }: { value: unknown }) {
  const source = externalInput.safeParse(value).data;
  if (source === undefined || !('run' in source)) return null;
  return <RunStage runId={source.run} step={source.step} />;
}

function RunStage({ runId, step }: { runId: string; step: string }) {
  const { client } = useServices();
  const isId = idOf('run').safeParse(runId).success;
  const run = useQuery({ ...runQuery(client, runId), enabled: isId });
  if (run.data === undefined) return null;
  return (
    <p className={classes.was}>
      the last checkpoint of {step} of{' '}
      <Link to="/runs/$runId" params={{ runId }} search={{ step }}>
        {run.data.name}
      </Link>
    </p>
  );
}

import { TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Dropdown } from '../../parts/dropdown.tsx';
import { formatMap } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './submit.module.css';

const typingPauseMs = 250;
/** Found models and found runs. */
const most = 8;
/** Models are few: the first of them are searched here. */
const searched = 200;

/** The way to a submission that trains on from a registered model, or from the last stage of a run; a stage of a run has a link of its own. */
export function TrainOnChoice() {
  const { client } = useServices();
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState('');
  const [q] = useDebouncedValue(text.trim(), typingPauseMs);
  const models = useQuery({
    queryKey: [...keys.models, 'names'],
    queryFn: ({ signal }) => client.listModels({ limit: searched }, { signal }),
    enabled: isOpen,
  });
  const runs = useQuery({
    queryKey: [...keys.runs, 'train-on', q],
    queryFn: ({ signal }) => client.listRuns({ state: ['succeeded'], limit: most, ...(q === '' ? {} : { q }) }, { signal }),
    enabled: isOpen,
    placeholderData: keepPreviousData,
  });
  const error = models.error ?? runs.error;
  const found = (models.data?.items ?? []).filter(({ name }) => name.toLowerCase().includes(text.trim().toLowerCase())).slice(0, most);
  return (
    <Dropdown label="Train on from …" onOpen={() => setOpen(true)}>
      <TextInput
        size="xs"
        type="search"
        aria-label="Search models and runs"
        placeholder="A model or a run"
        maxLength={100}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      {error !== null && <ProblemNotice error={error} />}
      <ul className={classes.starts} aria-label="Models">
        {found.map(({ name, version, runId, metrics }) => (
          <li key={name}>
            <Link to="/submit" search={{ from: runId, trainOn: '' }}>
              {name}@{version}
            </Link>
            {metrics.mapAt100 !== undefined && <span className={classes.dim}>mAP@100 {formatMap(metrics.mapAt100)}</span>}
          </li>
        ))}
      </ul>
      <ul className={classes.starts} aria-label="Runs">
        {(runs.data?.items ?? []).map(({ id, name, finishedAt, mapAt100 }) => (
          <li key={id}>
            <Link to="/submit" search={{ from: id, trainOn: '' }}>
              {name}
            </Link>
            <span className={classes.dim}>
              {mapAt100.last !== null && `mAP@100 ${formatMap(mapAt100.last)}, `}
              {finishedAt !== null && <Ago at={finishedAt} />}
            </span>
          </li>
        ))}
      </ul>
      {found.length === 0 && runs.data?.items.length === 0 && <p className={classes.dim}>Nothing is found.</p>}
    </Dropdown>
  );
}

import { type RunEvent, type RunView, stepOfEvent } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Icon, type IconName } from '../../parts/icon.tsx';
import { attemptLooks, type Look, runLooks, stepLooks, verdictLooks } from '../../parts/looks.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './events.module.css';

const pageSize = 50;
/** Of the choice of steps. */
const allSteps = '';

/** The run's history, the newest first: of all steps, or of the chosen one. */
export default function EventsTab({ run }: { run: RunView }) {
  const { client } = useServices();
  const search = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const step = run.stepViews.find(({ name }) => name === search.step)?.name;
  const before = search.before ?? run.seq + 1;
  const events = useQuery({
    queryKey: keys.runPart(run.id, 'events', before, step),
    queryFn: ({ signal }) => client.listRunEvents(run.id, { before, limit: pageSize, ...(step === undefined ? {} : { step }) }, { signal }),
    placeholderData: (previous) => previous,
  });
  if (events.data === undefined) {
    return events.error === null ? (
      <p role="status">Loading …</p>
    ) : (
      <ProblemNotice error={events.error} onRetry={() => void events.refetch()} />
    );
  }
  const items = events.data.items.toReversed();
  const [newest] = items;
  const oldest = items.at(-1);
  return (
    <>
      <NativeSelect
        className={classes.filter}
        aria-label="Events of"
        value={step ?? allSteps}
        data={[{ value: allSteps, label: 'Events of all steps' }, ...run.stepViews.map(({ name }) => ({ value: name, label: name }))]}
        onChange={(event) =>
          void navigate({ search: { tab: 'events', step: event.currentTarget.value || undefined }, replace: true, resetScroll: false })
        }
      />
      {oldest === undefined ? (
        <p>No {search.before === undefined ? '' : 'earlier '}events.</p>
      ) : (
        <ol className={classes.events} aria-label="Events">
          {items.map((event) => (
            <Event key={event.seq} event={event} />
          ))}
        </ol>
      )}
      <p className={classes.pages}>
        {search.before !== undefined && (
          <Link from="/runs/$runId" search={{ tab: 'events', step }} resetScroll={false}>
            Newest
          </Link>
        )}
        {oldest !== undefined && items.length === pageSize && oldest.seq > 1 && (
          <Link from="/runs/$runId" search={{ tab: 'events', step, before: oldest.seq }} resetScroll={false}>
            Older
          </Link>
        )}
        {oldest !== undefined && newest !== undefined && step === undefined && (
          <span>
            {oldest.seq} to {newest.seq} of {run.seq}
          </span>
        )}
      </p>
    </>
  );
}

function Event({ event }: { event: RunEvent }) {
  const { icon, colour } = lookOf(event);
  const step = stepOfEvent(event);
  return (
    <li className={classes.event}>
      <span className={classes.sign} data-colour={colour}>
        <Icon name={icon} size={14} />
      </span>
      <span className={classes.time}>
        <Ago at={event.at} />
      </span>
      <span className={classes.message}>{event.message}</span>
      {step !== null && (
        <Link from="/runs/$runId" search={{ step }} className={classes.step} resetScroll={false}>
          {step}
        </Link>
      )}
    </li>
  );
}

function lookOf(event: RunEvent): { icon: IconName; colour: Look['colour'] } {
  switch (event.type) {
    case 'run':
      return runLooks[event.data.state];
    case 'step':
      return event.data.state === undefined ? { icon: 'clock', colour: 'gray' } : stepLooks[event.data.state];
    case 'attempt':
      return event.data.state === undefined ? { icon: 'play', colour: 'blue' } : attemptLooks[event.data.state];
    case 'checkpoint':
      return { icon: 'down', colour: 'gray' };
    case 'evaluation':
      return { icon: 'up', colour: 'green' };
    case 'gate':
      return verdictLooks[event.data.verdict];
    case 'budget':
      return { icon: 'warning', colour: event.data.state === 'spent' ? 'red' : 'orange' };
    case 'note':
      return event.data.level === 'warning' || event.data.imageId !== undefined
        ? { icon: 'warning', colour: 'orange' }
        : { icon: 'info', colour: 'gray' };
  }
}

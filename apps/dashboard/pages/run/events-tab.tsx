import { type RunEvent, type RunView, stepOfEvent } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Icon, type IconName } from '../../parts/icon.tsx';
import { attemptLooks, type Look, runLooks, stepLooks, verdictLooks } from '../../parts/looks.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './events.module.css';

const pageSize = 50;

/** The run's history, the newest first. */
export default function EventsTab({ run }: { run: RunView }) {
  const { client } = useServices();
  const { before = run.seq + 1 } = useSearch({ from: '/signed-in/runs/$runId' });
  const after = Math.max(0, before - 1 - pageSize);
  const events = useQuery({
    queryKey: keys.runPart(run.id, 'events', after),
    queryFn: ({ signal }) => client.listRunEvents(run.id, { after, limit: pageSize }, { signal }),
    placeholderData: (previous) => previous,
  });
  if (events.data === undefined) {
    return events.error === null ? (
      <p role="status">Loading …</p>
    ) : (
      <ProblemNotice error={events.error} onRetry={() => void events.refetch()} />
    );
  }
  const items = events.data.items.filter((event) => event.seq < before).reverse();
  return (
    <>
      <ol className={classes.events} aria-label="Events">
        {items.map((event) => (
          <Event key={event.seq} event={event} />
        ))}
      </ol>
      <p className={classes.pages}>
        {before <= run.seq && (
          <Link
            from="/runs/$runId"
            search={{ tab: 'events', before: before + pageSize > run.seq ? undefined : before + pageSize }}
            resetScroll={false}
          >
            Newer
          </Link>
        )}
        {after > 0 && (
          <Link from="/runs/$runId" search={{ tab: 'events', before: after + 1 }} resetScroll={false}>
            Older
          </Link>
        )}
        <span>
          {items.at(-1)?.seq ?? 0} to {items[0]?.seq ?? 0} of {run.seq}
        </span>
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
    case 'note':
      return event.data.level === 'warning' || event.data.imageId !== undefined
        ? { icon: 'warning', colour: 'orange' }
        : { icon: 'info', colour: 'gray' };
  }
}

import { type AttentionItem, isEndedRun, liveRunStates } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useServices } from '../../app/services.ts';
import { attentionLooks, runLooks } from '../../parts/looks.ts';
import { formatCount, formatShare } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './home.module.css';
import { attentionQuery, fleetQuery, liveRunsQuery } from './home-queries.ts';

/** What needs a person, what runs, and what room there is. */
export function HomePage() {
  const { client } = useServices();
  const attention = useQuery(attentionQuery(client));
  const runs = useQuery(liveRunsQuery(client));
  const fleet = useQuery(fleetQuery(client));
  useFollow('runs', 'fleet');
  useTitle(attention.data?.total ? `(${attention.data.total}) Home` : 'Home');
  const items = attention.data?.items ?? [];
  const more = (attention.data?.total ?? 0) - items.length;
  return (
    <div className={classes.page}>
      <Part title="Needs you" answer={attention}>
        {attention.data?.total === 0 && <p className={classes.quiet}>Nothing: no failed run, no step that waits for long, no sick node.</p>}
        <ul className={classes.list}>
          {items.map((item) => (
            <Attention key={`${item.kind} ${item.id}`} item={item} />
          ))}
        </ul>
        {more > 0 && (
          <p>
            And {formatCount(more)} more: see the{' '}
            <Link to="/runs" search={{ state: ['failed'] }}>
              failed runs
            </Link>
            .
          </p>
        )}
      </Part>
      <Part title="In progress" answer={runs}>
        {runs.data?.total === 0 && <p className={classes.quiet}>No run is in progress.</p>}
        <ul className={classes.list}>
          {runs.data?.items.map((run) => (
            <li key={run.id} className={classes.item}>
              <StateBadge look={runLooks[run.state]} />
              <div>
                <Link to="/runs/$runId" params={{ runId: run.id }}>
                  {run.name}
                </Link>{' '}
                {!isEndedRun(run.state) && formatShare(run.share)}
                <p className={classes.note}>{run.now ?? `${formatCount(run.steps.done)} of ${formatCount(run.steps.total)} steps`}</p>
              </div>
            </li>
          ))}
        </ul>
        {(runs.data?.total ?? 0) > (runs.data?.items.length ?? 0) && (
          <Link to="/runs" search={{ state: liveRunStates }}>
            All {formatCount(runs.data?.total ?? 0)}
          </Link>
        )}
      </Part>
      <Part title="Pools" answer={fleet}>
        <ul className={classes.list}>
          {fleet.data?.pools.map((pool) => (
            <li key={pool.name} className={classes.pool}>
              <strong>{pool.name}</strong>
              <ProgressBar share={pool.busy / Math.max(1, pool.slots)} colour="blue" label={`Slots of ${pool.name} in use`} />
              <span>
                {formatCount(pool.busy)} of {formatCount(pool.slots)} slots in use
                {pool.waiting > 0 && `, ${formatCount(pool.waiting)} waiting`}
              </span>
              {pool.room?.sentences.map((sentence) => (
                <p key={sentence} className={classes.note}>
                  {sentence}
                </p>
              ))}
            </li>
          ))}
        </ul>
      </Part>
    </div>
  );
}

type PartProps = { title: string; answer: { error: unknown; data: unknown; refetch: () => unknown }; children: ReactNode };

function Part({ title, answer, children }: PartProps) {
  return (
    <section className={classes.part} aria-label={title}>
      <h2>{title}</h2>
      {answer.error !== null && <ProblemNotice error={answer.error} onRetry={() => void answer.refetch()} />}
      {answer.data === undefined
        ? answer.error === null && <div className={classes.loading} role="status" aria-label={`Loading: ${title}`} />
        : children}
    </section>
  );
}

function Attention({ item }: { item: AttentionItem }) {
  return (
    <li className={classes.item}>
      <StateBadge look={attentionLooks[item.kind]} />
      <div>
        {item.run === null ? null : (
          <>
            <Link to="/runs/$runId" params={{ runId: item.run.id }}>
              {item.run.name}
            </Link>
            {item.step !== null && `, ${item.step}`}{' '}
          </>
        )}
        <span className={classes.note}>
          <Ago at={item.since} />
        </span>
        <p>{item.sentence}</p>
      </div>
    </li>
  );
}

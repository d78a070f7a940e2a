import { type AttentionItem, endedRunStates, liveRunStates, type RunListItem, type RunState } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { type ReactNode, useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { fleetQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { attentionLooks, runLooks } from '../../parts/looks.ts';
import { formatCount, formatMap, formatShare } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { type HeldDelivery, ReleaseDialog } from '../../parts/release-dialog.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './home.module.css';
import { attentionQuery, endedRunsQuery, liveRunsQuery } from './home-queries.ts';

/** What needs a person, what runs, and what room there is. */
export function HomePage() {
  const { client } = useServices();
  const attention = useQuery(attentionQuery(client));
  const runs = useQuery(liveRunsQuery(client));
  const ended = useQuery(endedRunsQuery(client));
  const fleet = useQuery(fleetQuery(client));
  useFollow('runs', 'fleet');
  useTitle(attention.data?.total ? `(${attention.data.total}) Home` : 'Home');
  // Not of its item, which an update may take away.
  const [released, setReleased] = useState<HeldDelivery | null>(null);
  const items = attention.data?.items ?? [];
  const endOf = ({ finishedAt, updatedAt }: RunListItem): number => Date.parse(finishedAt ?? updatedAt);
  const endedLast = ended.data?.items.toSorted((a, b) => endOf(b) - endOf(a)) ?? [];
  const more = (attention.data?.total ?? 0) - items.length;
  return (
    <div className={classes.page}>
      <Part title="Needs you" answer={attention}>
        {attention.data?.total === 0 && (
          <p className={classes.quiet}>Nothing: no failed or held run, no step that waits for long, no sick node.</p>
        )}
        <ul className={classes.list}>
          {items.map((item) => (
            <Attention key={`${item.kind} ${item.id}`} item={item} onRelease={setReleased} />
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
            <Run
              key={run.id}
              run={run}
              end={formatShare(run.share)}
              note={run.now ?? `${formatCount(run.steps.done)} of ${formatCount(run.steps.total)} steps`}
            />
          ))}
        </ul>
        <All page={runs.data} states={liveRunStates} />
      </Part>
      <Part title="Ended last" answer={ended}>
        {ended.data?.total === 0 && <p className={classes.quiet}>No run has ended yet.</p>}
        <ul className={classes.list}>
          {endedLast.map((run) => (
            <Run
              key={run.id}
              run={run}
              end={
                <>
                  {run.mapAt100.last !== null && `mAP@100 ${formatMap(run.mapAt100.last)} · `}
                  <Ago at={run.finishedAt ?? run.updatedAt} />
                </>
              }
            />
          ))}
        </ul>
        <All page={ended.data} states={endedRunStates} />
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
      {released !== null && <ReleaseDialog delivery={released} onClose={() => setReleased(null)} />}
    </div>
  );
}

/** One run: its state and name, `end` at the end of the line, and a note below it. */
function Run({ run, end, note }: { run: RunListItem; end: ReactNode; note?: string }) {
  return (
    <li className={classes.item}>
      <div className={classes.line}>
        <StateBadge look={runLooks[run.state]} />
        <Link to="/runs/$runId" params={{ runId: run.id }}>
          {run.name}
        </Link>
        <span className={classes.note}>{end}</span>
      </div>
      {note !== undefined && <p className={classes.note}>{note}</p>}
    </li>
  );
}

/** The way to the runs that the list has no room for. */
function All({ page, states }: { page: { total: number; items: readonly unknown[] } | undefined; states: RunState[] }) {
  if (page === undefined || page.total <= page.items.length) return null;
  return (
    <Link to="/runs" search={{ state: states }}>
      All {formatCount(page.total)}
    </Link>
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

function Attention({ item, onRelease }: { item: AttentionItem; onRelease: (delivery: HeldDelivery) => void }) {
  const mayRelease = useMay('delivery.release');
  const { delivery } = item;
  return (
    <li className={classes.item}>
      <div className={classes.line}>
        <StateBadge look={attentionLooks[item.kind]} />
        {item.run !== null && (
          <span>
            <Link to="/runs/$runId" params={{ runId: item.run.id }}>
              {item.run.name}
            </Link>
            {item.step !== null && `, ${item.step}`}
          </span>
        )}
        {delivery !== undefined && (
          <Link to="/triggers/$name" params={{ name: delivery.trigger }} search={{ outcome: 'held' }}>
            {delivery.subject}
          </Link>
        )}
        {delivery !== undefined && mayRelease && (
          <Button
            size="compact-xs"
            variant="default"
            aria-label={`Release ${delivery.subject}`}
            onClick={() => onRelease({ ...delivery, id: item.id })}
          >
            Release …
          </Button>
        )}
        <span className={classes.note}>
          <Ago at={item.since} />
        </span>
      </div>
      <p>{item.sentence}</p>
    </li>
  );
}

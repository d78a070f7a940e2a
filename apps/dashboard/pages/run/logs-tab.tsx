import { type AttemptView, isLiveAttempt, type LogStream, logStream, type RunView } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { attemptLooks } from '../../parts/looks.ts';
import { formatBytes } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './log-viewer.module.css';
import { LogViewer } from './log-viewer.tsx';

const sizesMs = 10_000;

/** The log of an attempt, whatever became of its process: the chosen one, or the one that is wanted most. */
export default function LogsTab({ run }: { run: RunView }) {
  const search = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const { client } = useServices();
  const withAttempts = run.stepViews.filter(({ attempts }) => attempts > 0);
  const step =
    withAttempts.find(({ name }) => name === search.step) ??
    withAttempts.find(({ state }) => state === 'failed') ??
    withAttempts.findLast(({ state }) => state === 'active') ??
    withAttempts.findLast(({ kind }) => kind === 'train') ??
    withAttempts.at(-1);
  const attempts = useQuery({
    queryKey: keys.runPart(run.id, 'timeline', 'attempts', step?.name),
    queryFn: ({ signal }) => client.listAttempts(run.id, step?.name ?? '', { signal }),
    enabled: step !== undefined,
  });
  if (step === undefined) return <p>No attempt has started, so there is no log yet.</p>;
  if (attempts.data === undefined) {
    return attempts.error === null ? <p role="status">Loading …</p> : <ProblemNotice error={attempts.error} />;
  }
  const { items } = attempts.data;
  const attempt =
    items.find(({ id }) => id === search.attempt) ?? items.find(({ id }) => id === step.failureCard?.attempt?.id) ?? items.at(-1);
  if (attempt === undefined) return <p>No attempt has started, so there is no log yet.</p>;
  return (
    <>
      <div className={classes.choice}>
        <NativeSelect
          label="Step"
          value={step.name}
          data={withAttempts.map(({ name }) => name)}
          onChange={(event) => void navigate({ search: { tab: 'logs', step: event.currentTarget.value } })}
        />
        <NativeSelect
          label="Attempt"
          value={attempt.id}
          data={items
            .toReversed()
            .map(({ id, ordinal, state }) => ({ value: id, label: `${ordinal}, ${attemptLooks[state].label.toLowerCase()}` }))}
          onChange={(event) => void navigate({ search: { tab: 'logs', step: step.name, attempt: event.currentTarget.value } })}
        />
        <StateBadge look={attemptLooks[attempt.state]} />
        {attempt.place !== null && <span className={classes.dim}>{attempt.place}</span>}
      </div>
      <Streams key={attempt.id} run={run} attempt={attempt} />
    </>
  );
}

/** The three outputs of an attempt with their sizes, and the chosen one. */
function Streams({ run, attempt }: { run: RunView; attempt: AttemptView }) {
  const search = useSearch({ from: '/signed-in/runs/$runId' });
  const { client } = useServices();
  const sizes = useQuery({
    // Not with every hint that the log has grown: the viewer reads the chosen output, and the others may be some seconds old.
    queryKey: ['log-sizes', attempt.id],
    refetchInterval: isLiveAttempt(attempt.state) ? sizesMs : false,
    queryFn: async ({ signal }) => {
      const ends = await Promise.all(logStream.options.map((stream) => client.readLogLines(attempt.id, { stream, count: 1 }, { signal })));
      return ends.map(({ stream, size }) => ({ stream, size }));
    },
  });
  // A link to a failure does not know which output has it.
  const isSought = search.stream === undefined && search.q !== undefined;
  const sought = useQuery({
    queryKey: ['log-stream', attempt.id, search.q],
    queryFn: async ({ signal }) => {
      const q = search.q ?? '';
      const found = await Promise.all(logStream.options.map((stream) => client.searchLog(attempt.id, { stream, q, limit: 1 }, { signal })));
      return found.findLast(({ matches }) => matches.length > 0)?.stream ?? null;
    },
    enabled: isSought,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const error = sizes.error ?? sought.error;
  if (error !== null) return <ProblemNotice error={error} onRetry={() => void sizes.refetch()} />;
  if (sizes.data === undefined || (isSought && sought.data === undefined)) return <p role="status">Loading …</p>;
  return <ChosenStream run={run} attempt={attempt} sizes={sizes.data} sought={sought.data ?? null} />;
}

type StreamSize = { stream: LogStream; size: number };

function ChosenStream({
  run,
  attempt,
  sizes,
  sought,
}: {
  run: RunView;
  attempt: AttemptView;
  sizes: StreamSize[];
  sought: LogStream | null;
}) {
  const search = useSearch({ from: '/signed-in/runs/$runId' });
  // Once: another output that gets its first line must not replace the one that is being read.
  const [first] = useState(() => mostWanted(attempt, sizes));
  const stream = search.stream ?? sought ?? first;
  return (
    <>
      <nav className={classes.streams} aria-label="Outputs">
        {sizes.map((one) => (
          <Link
            key={one.stream}
            from="/runs/$runId"
            search={({ tab, step }) => ({ tab, step, attempt: attempt.id, stream: one.stream })}
            {...(one.stream === stream ? { 'aria-current': 'page' } : {})}
            className={classes.stream}
            resetScroll={false}
          >
            {one.stream} <span className={classes.dim}>{one.size === 0 ? 'empty' : formatBytes(one.size)}</span>
          </Link>
        ))}
      </nav>
      <LogViewer key={`${attempt.id} ${stream}`} run={run} attempt={attempt} stream={stream} />
    </>
  );
}

/** What a person wants to read: errors of a failed attempt, else what its program printed, else what its agent did. */
function mostWanted({ failure }: AttemptView, sizes: readonly StreamSize[]): LogStream {
  const order: readonly LogStream[] = failure === null ? ['stdout', 'stderr', 'agent'] : ['stderr', 'stdout', 'agent'];
  return order.find((stream) => sizes.some((one) => one.stream === stream && one.size > 0)) ?? 'stdout';
}

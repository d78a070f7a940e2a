import { isEndedStep, isFleetKind, type RunView, type ShardGrid, type StepView, shardActivities } from '@cairn/contract';
import { Button, NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { type Fact, Facts } from '../../parts/facts.tsx';
import { formatBytes, formatCount, formatDuration, formatMoney, formatShare } from '../../parts/numbers.ts';
import { Picture } from '../../parts/picture.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './extraction.module.css';
import { colourings, ShardCanvas, shardLooks, shardOf } from './shard-canvas.tsx';

/** The shards of the run's fleets, one fleet at a time: as a grid and a table, their workers, and the images that were left out. */
export default function ExtractionTab({ run }: { run: RunView }) {
  const search = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const fleets = run.stepViews.filter(({ kind }) => isFleetKind(kind));
  const step = fleets.find(({ name }) => name === search.step) ?? fleets.find(({ state }) => state === 'active') ?? fleets[0];
  if (step === undefined) return <p>This run has no extraction.</p>;
  return (
    <>
      <NativeSelect
        className={classes.choice}
        label="Extraction"
        value={step.name}
        data={fleets.map(({ name }) => name)}
        onChange={(event) =>
          void navigate({ search: { tab: 'extraction', step: event.currentTarget.value }, replace: true, resetScroll: false })
        }
      />
      <Fleet key={step.name} run={run} step={step} />
    </>
  );
}

function Fleet({ run, step }: { run: RunView; step: StepView }) {
  const { client } = useServices();
  const grid = useQuery({
    queryKey: keys.runPart(run.id, 'shards', step.name),
    queryFn: ({ signal }) => client.getShardGrid(run.id, step.name, { signal }),
    staleTime: isEndedStep(step.state) ? Number.POSITIVE_INFINITY : 5_000,
  });
  if (grid.data === undefined) {
    return grid.error === null ? <p role="status">Loading …</p> : <ProblemNotice error={grid.error} onRetry={() => void grid.refetch()} />;
  }
  return (
    <>
      {step.reusedFrom !== null && (
        <p className={classes.dim}>
          Reused from{' '}
          <Link to="/runs/$runId" params={{ runId: step.reusedFrom.runId }} search={{ tab: 'extraction' }}>
            {step.reusedFrom.runName}
          </Link>
          , whose shards these are.
        </p>
      )}
      <p className={classes.proof}>{grid.data.proof}</p>
      {grid.data.states.length > 0 && <Shards grid={grid.data} />}
      {step.kind === 'extract' && grid.data.counts.rejected > 0 && <RejectedImages runId={run.id} step={step.name} />}
    </>
  );
}

function Shards({ grid }: { grid: ShardGrid }) {
  const { shard = 0, colour = 'state' } = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const selected = Math.min(shard, grid.states.length - 1);
  const select = (next: number): void => void navigate({ search: (now) => ({ ...now, shard: next }), replace: true, resetScroll: false });
  return (
    <>
      <Facts facts={shardFacts(grid)} />
      <div className={classes.columns}>
        <section aria-label="Grid of shards" className={classes.card}>
          <NativeSelect
            label="Colour"
            w="fit-content"
            value={colour}
            data={Object.entries(colourings).map(([value, label]) => ({ value, label }))}
            onChange={({ currentTarget: { value } }) =>
              void navigate({ search: (now) => ({ ...now, colour: colourOf(value) }), replace: true, resetScroll: false })
            }
          />
          <ShardCanvas grid={grid} colouring={colour} selected={selected} onSelect={select} />
          {grid.counts.total > grid.states.length && (
            <p className={classes.dim}>The first {formatCount(grid.states.length)} shards are shown.</p>
          )}
        </section>
        <ShardTable grid={grid} selected={selected} onSelect={select} />
      </div>
      <Workers grid={grid} />
    </>
  );
}

const million = 1_000_000;

/** How far the extraction is, what has been read so far, and what a million images take. */
function shardFacts({ counts, rate, etaSeconds, attempts, gpuSeconds, cost }: ShardGrid): Fact[] {
  const bytes = attempts.reduce((sum, { bytesRead }) => sum + (bytesRead ?? 0), 0);
  const done = counts.rows + counts.rejected;
  const perMillion = (value: number): number => (value * million) / done;
  const facts: Fact[] = [
    ['Shards', `${formatCount(counts.committed)} of ${formatCount(counts.total)} committed, ${formatCount(counts.leased)} in work`],
  ];
  if (rate !== null) facts.push(['Rate, last 10 minutes', `${rate < 10 ? rate.toFixed(1) : formatCount(Math.round(rate))} images/s`]);
  if (etaSeconds !== null) facts.push(['Left', formatDuration(etaSeconds * 1000)]);
  if (bytes > 0) facts.push(['Read', formatBytes(bytes)]);
  if (done > 0 && gpuSeconds > 0) {
    const money = cost === null ? '' : `, ${formatMoney(perMillion(cost))}`;
    facts.push(['GPU time of a million images', `${formatDuration(perMillion(gpuSeconds) * 1000)}${money}`]);
  }
  return facts;
}

const colourOf = (value: string) => (value === 'worker' || value === 'time' ? value : undefined);

const rejectedPageSize = 12;

/** The images that were left out, each with its reason, and its picture where it can be shown. */
function RejectedImages({ runId, step }: { runId: string; step: string }) {
  const { client } = useServices();
  const { cursor } = useSearch({ from: '/signed-in/runs/$runId' });
  const rejected = useQuery({
    queryKey: keys.runPart(runId, 'shards', step, 'rejected', cursor),
    queryFn: ({ signal }) =>
      client.listRejected(runId, step, { limit: rejectedPageSize, ...(cursor === undefined ? {} : { cursor }) }, { signal }),
    placeholderData: (previous) => previous,
  });
  return (
    <section aria-label="Rejected images" className={classes.card}>
      <h2>Rejected images</h2>
      <Answer of={rejected}>
        {({ items, dataset, nextCursor, total }) => (
          <>
            <ul className={classes.rejected}>
              {items.map(({ imageId, path, reason, bytes, shard }) => (
                <li key={`${shard} ${imageId}`}>
                  <span className={classes.thumb}>
                    <Picture dataset={dataset} imageId={imageId} size={256} alt={`The rejected image ${imageId}`} />
                  </span>
                  <span>
                    <strong>{reason}</strong>
                    <code>{path}</code>
                    <span className={classes.dim}>
                      {bytes !== null && `${formatBytes(bytes)}, `}shard {shard}
                    </span>
                  </span>
                </li>
              ))}
            </ul>
            <p className={classes.pages}>
              {cursor !== undefined && (
                <Link from="/runs/$runId" search={(now) => ({ ...now, cursor: undefined })} resetScroll={false}>
                  First page
                </Link>
              )}
              {nextCursor !== null && (
                <Link from="/runs/$runId" search={(now) => ({ ...now, cursor: nextCursor })} resetScroll={false}>
                  Next page
                </Link>
              )}
              <span className={classes.dim}>{formatCount(total)} rejected</span>
            </p>
          </>
        )}
      </Answer>
    </section>
  );
}

const shardPageSize = 20;

type ShardTableProps = { grid: ShardGrid; selected: number; onSelect: (shard: number) => void };

/** The shards around the selected one, a page at a time. */
function ShardTable({ grid, selected, onSelect }: ShardTableProps) {
  const first = Math.floor(selected / shardPageSize) * shardPageSize;
  const count = grid.states.length;
  const shards = Array.from({ length: Math.min(shardPageSize, count - first) }, (_, at) => shardOf(grid, first + at));
  return (
    <section aria-label="Table of shards" className={classes.card}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard. */}
      <section className={classes.scroll} tabIndex={0} aria-label="Shards of this page">
        <table className={classes.table}>
          <thead>
            <tr>
              <th data-number>Shard</th>
              <th>State</th>
              <th data-number>Worker</th>
              <th data-number>Time</th>
              <th data-number>Rejected</th>
              <th data-number>Tries</th>
            </tr>
          </thead>
          <tbody>
            {shards.map(({ index, state, worker, seconds, rejected, tries }) => (
              <tr key={index} data-selected={index === selected}>
                <th scope="row" data-number>
                  <button type="button" onClick={() => onSelect(index)} aria-current={index === selected}>
                    {index}
                  </button>
                </th>
                <td>
                  <StateBadge look={shardLooks[state]} />
                </td>
                <td data-number>{worker ?? ''}</td>
                <td data-number>{seconds === null ? '' : `${seconds.toFixed(1)} s`}</td>
                <td data-number>{rejected === 0 ? '' : formatCount(rejected)}</td>
                <td data-number>{tries}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <p className={classes.pages}>
        <Button variant="default" disabled={first === 0} onClick={() => onSelect(first - shardPageSize)}>
          Previous
        </Button>
        <span>
          {formatCount(first)} to {formatCount(Math.min(count, first + shardPageSize) - 1)} of {formatCount(count)}
        </span>
        <Button variant="default" disabled={first + shardPageSize >= count} onClick={() => onSelect(first + shardPageSize)}>
          Next
        </Button>
      </p>
    </section>
  );
}

/** Those that did the most. */
const shown = 10;

const activityLooks = {
  read: { label: 'Read', colour: 'blue' },
  decode: { label: 'Decode', colour: 'violet' },
  infer: { label: 'Model', colour: 'green' },
  write: { label: 'Write', colour: 'orange' },
} as const satisfies Record<(typeof shardActivities)[number], { label: string; colour: string }>;

/** Where the time of each worker goes: a long wait for bytes or pixels means that the model waits for the storage or the processors. */
function Workers({ grid }: { grid: ShardGrid }) {
  const workers = grid.attempts.toSorted((a, b) => b.images - a.images).slice(0, shown);
  if (workers.length === 0) return null;
  return (
    <section aria-label="Workers" className={classes.card}>
      <h2>Workers</h2>
      <p className={classes.dim}>
        Where their time goes: waiting for bytes, waiting for decoded images, running the model, writing.
        {grid.attempts.length > shown && ` The ${shown} of ${formatCount(grid.attempts.length)} that did the most.`}
      </p>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard. */}
      <section className={classes.scroll} tabIndex={0} aria-label="Table of workers">
        <table className={classes.table}>
          <thead>
            <tr>
              <th data-number>Worker</th>
              <th>Where</th>
              <th>Device</th>
              <th data-number>Read</th>
              <th data-number>Shards</th>
              <th data-number>Images</th>
              <th data-number>Images/s</th>
              {shardActivities.map((activity) => (
                <th key={activity} data-number>
                  {activityLooks[activity].label}
                </th>
              ))}
              <th>Share</th>
            </tr>
          </thead>
          <tbody>
            {workers.map((worker) => (
              <tr key={worker.id}>
                <th scope="row" data-number>
                  {worker.ordinal}
                </th>
                <td>
                  {worker.place ?? '-'} {!worker.isLive && <span className={classes.dim}>(ended)</span>}
                </td>
                <td>{worker.device ?? '-'}</td>
                <WorkCells work={worker} />
              </tr>
            ))}
            {grid.attempts.length > 1 && (
              <tr>
                <th scope="row" colSpan={3}>
                  All
                </th>
                <WorkCells work={sumOf(grid.attempts)} />
              </tr>
            )}
          </tbody>
        </table>
      </section>
    </section>
  );
}

type WorkDone = Pick<ShardGrid['attempts'][number], 'shards' | 'images' | 'bytesRead' | 'seconds'>;

function sumOf(attempts: readonly WorkDone[]): WorkDone {
  const sum = (value: (done: WorkDone) => number): number => attempts.reduce((total, done) => total + value(done), 0);
  return {
    shards: sum(({ shards }) => shards),
    images: sum(({ images }) => images),
    bytesRead: sum(({ bytesRead }) => bytesRead ?? 0),
    seconds: {
      read: sum(({ seconds }) => seconds.read),
      decode: sum(({ seconds }) => seconds.decode),
      infer: sum(({ seconds }) => seconds.infer),
      write: sum(({ seconds }) => seconds.write),
    },
  };
}

/** What was done, and in which part of the time. */
function WorkCells({ work: { shards, images, bytesRead, seconds } }: { work: WorkDone }) {
  const total = shardActivities.reduce((sum, activity) => sum + seconds[activity], 0);
  const shareOf = (activity: (typeof shardActivities)[number]) => (total === 0 ? 0 : seconds[activity] / total);
  return (
    <>
      <td data-number>{bytesRead === null || bytesRead === 0 ? '' : formatBytes(bytesRead)}</td>
      <td data-number>{formatCount(shards)}</td>
      <td data-number>{formatCount(images)}</td>
      <td data-number>{total === 0 ? '' : formatCount(Math.round(images / total))}</td>
      {shardActivities.map((activity) => (
        <td key={activity} data-number>
          {total === 0 ? '' : formatShare(shareOf(activity))}
        </td>
      ))}
      <td>
        <span className={classes.shares} aria-hidden="true">
          {shardActivities.map((activity) => (
            <span
              key={activity}
              data-colour={activityLooks[activity].colour}
              style={{ width: `${shareOf(activity) * 100}%` }}
              title={`${activityLooks[activity].label} ${formatShare(shareOf(activity))}`}
            />
          ))}
        </span>
      </td>
    </>
  );
}

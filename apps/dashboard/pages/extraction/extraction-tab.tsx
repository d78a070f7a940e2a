import { isEndedStep, isFleetKind, type RunView, type ShardGrid, type StepView } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { formatCount, formatDuration } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import classes from './extraction.module.css';
import { RejectedImages } from './rejected-images.tsx';
import { colourings, ShardCanvas } from './shard-canvas.tsx';
import { ShardTable } from './shard-table.tsx';
import { Workers } from './workers.tsx';

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
  const { shard = 0 } = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const [colouring, setColouring] = useState<keyof typeof colourings>('state');
  const selected = Math.min(shard, grid.states.length - 1);
  const select = (next: number): void => void navigate({ search: (now) => ({ ...now, shard: next }), replace: true, resetScroll: false });
  return (
    <>
      <dl className={classes.facts}>
        <div>
          <dt>Shards</dt>
          <dd>
            {formatCount(grid.counts.committed)} of {formatCount(grid.counts.total)} committed, {formatCount(grid.counts.leased)} in work
          </dd>
        </div>
        {grid.rate !== null && (
          <div>
            <dt>Rate, last 10 minutes</dt>
            <dd>{grid.rate < 10 ? grid.rate.toFixed(1) : formatCount(Math.round(grid.rate))} images/s</dd>
          </div>
        )}
        {grid.etaSeconds !== null && (
          <div>
            <dt>Left</dt>
            <dd>{formatDuration(grid.etaSeconds * 1000)}</dd>
          </div>
        )}
      </dl>
      <div className={classes.columns}>
        <section aria-label="Grid of shards" className={classes.card}>
          <NativeSelect
            label="Colour"
            value={colouring}
            data={Object.entries(colourings).map(([value, label]) => ({ value, label }))}
            onChange={(event) => setColouring(colouringOf(event.currentTarget.value))}
          />
          <ShardCanvas grid={grid} colouring={colouring} selected={selected} onSelect={select} />
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

const colouringOf = (value: string): keyof typeof colourings => (value === 'worker' || value === 'time' ? value : 'state');

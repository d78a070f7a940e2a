import type { RunView, StepView } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { formatBytes, formatCount, formatMap, formatShare } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { CurveChart } from './curve-chart.tsx';
import { breaks } from './curves.ts';
import type { RunSearch } from './run-search.ts';
import classes from './training.module.css';

const maxPoints = 1_000;

const digits = (value: number): string => String(Number(value.toPrecision(4)));

/** The curves that a training stage reports, in the order shown; `best` is the end of its range that is good. */
const curveKinds = {
  loss: { title: 'Loss', best: 'least', format: digits },
  accuracy: { title: 'Accuracy of the batch', best: 'most', format: formatShare },
  map_at_100: { title: 'mAP@100', best: 'most', format: formatMap },
  learning_rate: { title: 'Learning rate', best: null, format: digits },
  images_per_second: { title: 'Images per second', best: null, format: (value: number) => formatCount(Math.round(value)) },
  data_wait_share: { title: 'Share of the time spent waiting for data', best: null, format: formatShare },
  gpu_memory_bytes: { title: 'GPU memory', best: null, format: formatBytes },
} as const satisfies Record<string, { title: string; best: 'least' | 'most' | null; format: (value: number) => string }>;

/** The curves of one training stage, each one line over all its attempts. */
export default function TrainingTab({ run }: { run: RunView }) {
  const search = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const stages = run.stepViews.filter(({ kind }) => kind === 'train');
  const stage =
    stages.find(({ name }) => name === search.step) ??
    stages.findLast(({ startedAt, state }) => startedAt !== null && state !== 'reused') ??
    stages[0];
  const change = (part: Partial<RunSearch>): void =>
    void navigate({ search: (now) => ({ ...now, ...part }), replace: true, resetScroll: false });
  if (stage === undefined) return <p>This run has no training stage.</p>;
  return (
    <>
      <div className={classes.choice}>
        <NativeSelect
          label="Stage"
          value={stage.name}
          data={stages.map(({ name }) => name)}
          onChange={(event) => change({ step: event.currentTarget.value })}
        />
        <NativeSelect
          label="Horizontal axis"
          value={search.x ?? 'step'}
          data={[
            { value: 'step', label: 'optimizer step' },
            { value: 'epoch', label: 'epoch' },
            { value: 'time', label: 'time' },
          ]}
          onChange={(event) => change({ x: xOf(event.currentTarget.value) })}
        />
        <NativeSelect
          label="Vertical axis"
          value={search.scale ?? 'linear'}
          data={['linear', 'log']}
          onChange={(event) => change({ scale: event.currentTarget.value === 'log' ? 'log' : undefined })}
        />
        <label className={classes.smoothing}>
          Smoothing {search.smoothing ?? 0}
          <input
            type="range"
            min={0}
            max={0.98}
            step={0.02}
            value={search.smoothing ?? 0}
            onChange={(event) => change({ smoothing: Number(event.currentTarget.value) || undefined })}
          />
        </label>
      </div>
      <Curves key={stage.id} run={run} stage={stage} />
    </>
  );
}

const xOf = (value: string): RunSearch['x'] => (value === 'epoch' || value === 'time' ? value : undefined);

function Curves({ run, stage }: { run: RunView; stage: StepView }) {
  const { x = 'step', scale = 'linear', smoothing = 0 } = useSearch({ from: '/signed-in/runs/$runId' });
  const { client } = useServices();
  const metrics = useQuery({
    queryKey: keys.runPart(run.id, 'metrics', stage.name),
    queryFn: ({ signal }) => client.getMetrics(run.id, stage.name, { maxPoints }, { signal }),
    // The hints of a run are about its progress too: a finished stage never changes.
    staleTime: stage.finishedAt === null ? 10_000 : Number.POSITIVE_INFINITY,
  });
  if (metrics.data === undefined) {
    return metrics.error === null ? (
      <p role="status">Loading …</p>
    ) : (
      <ProblemNotice error={metrics.error} onRetry={() => void metrics.refetch()} />
    );
  }
  const { series, attempts, decimated } = metrics.data;
  if (series.length === 0) {
    return (
      <p>
        {stage.state === 'reused'
          ? `${stage.name} was reused; its curves are at the run that trained it.`
          : 'No curve has been reported yet.'}
      </p>
    );
  }
  const stepsPerEpoch = stepsPerEpochOf(stage);
  const known = Object.entries(curveKinds).flatMap(([name, kind]) => {
    const one = series.find((each) => each.name === name);
    return one === undefined ? [] : [{ ...kind, series: one }];
  });
  const others = series
    .filter(({ name }) => !Object.hasOwn(curveKinds, name))
    .map((one) => ({ series: one, title: one.name, best: null, format: digits }));
  return (
    <>
      {attempts.length > 1 && (
        <p className={classes.note}>{attempts.length} attempts: a dashed line marks where one continues from the checkpoint of another.</p>
      )}
      {decimated && <p className={classes.note}>Long curves are shown by {formatCount(maxPoints)} of their points.</p>}
      <div className={classes.charts}>
        {[...known, ...others].map((curve) => (
          <CurveChart
            key={curve.series.name}
            {...curve}
            x={x}
            stepsPerEpoch={stepsPerEpoch}
            breaks={breaks(attempts, x, stepsPerEpoch)}
            isLog={scale === 'log'}
            smoothing={smoothing}
            hoverGroup={stage.id}
          />
        ))}
      </div>
    </>
  );
}

/** A stage reports its optimizer steps in all; they are as many for every epoch. Null before it begins. */
function stepsPerEpochOf({ progress, settings }: StepView): number | null {
  const epochs = Number(settings.lastEpoch ?? settings.epochs);
  return progress === null || progress.unit !== 'steps' || progress.total === 0 || !(epochs > 0) ? null : progress.total / epochs;
}

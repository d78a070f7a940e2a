import { checkpointFate, type MetricsView, type RunView, type StepView } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useInViewport } from '@mantine/hooks';
import { useQueries } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import chartClasses from '../../parts/charts.module.css';
import { curveDigits, curveKinds } from '../../parts/curve-kinds.ts';
import { formatBytes, formatCount } from '../../parts/numbers.ts';
import { Plot, plotFaintTeal, plotHeight, plotTeal } from '../../parts/plot.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago } from '../../parts/time.tsx';
import { type ChainedCurve, type CurveMark, type CurveX, chainCurves } from './curves.ts';
import type { RunSearch } from './run-search.ts';
import classes from './training.module.css';

const maxPoints = 1_000;

/** Of the choice of stages: all of them. */
const allStages = '';

/** The curves of the training stages, one after another or one alone, each over all its attempts; and their checkpoints. */
export default function TrainingTab({ run }: { run: RunView }) {
  const search = useSearch({ from: '/signed-in/runs/$runId' });
  const navigate = useNavigate({ from: '/runs/$runId' });
  const stages = run.stepViews.filter(({ kind }) => kind === 'train');
  // Stages of several models are not one after another.
  const isChain = stages.length > 1 && stages.every(({ needs }, index) => index === 0 || needs.includes(stages[index - 1]?.name ?? ''));
  const chosen = stages.find(({ name }) => name === search.step) ?? (isChain ? undefined : stages[0]);
  const change = (part: Partial<RunSearch>): void =>
    void navigate({ search: (now) => ({ ...now, ...part }), replace: true, resetScroll: false });
  if (stages.length === 0) return <p>This run has no training stage.</p>;
  const shown = chosen === undefined ? stages : [chosen];
  return (
    <>
      <div className={chartClasses.choice}>
        <NativeSelect
          label="Stage"
          value={chosen?.name ?? allStages}
          data={[
            ...(isChain ? [{ value: allStages, label: 'all, one after another' }] : []),
            ...stages.map(({ name }) => ({ value: name, label: name })),
          ]}
          onChange={(event) => change({ step: event.currentTarget.value || undefined })}
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
        <label className={chartClasses.smoothing}>
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
      <Curves key={chosen?.name ?? allStages} run={run} stages={shown} />
      <Checkpoints run={run} stages={shown} />
    </>
  );
}

const xOf = (value: string): RunSearch['x'] => (value === 'epoch' || value === 'time' ? value : undefined);

function Curves({ run, stages }: { run: RunView; stages: readonly StepView[] }) {
  const { x = 'step', scale = 'linear', smoothing = 0 } = useSearch({ from: '/signed-in/runs/$runId' });
  const { client } = useServices();
  const answers = useQueries({
    queries: stages.map((stage) => {
      const owner = stage.reusedFrom?.runId ?? run.id;
      return {
        queryKey: keys.runPart(owner, 'metrics', stage.name, stages.length),
        queryFn: ({ signal }: { signal: AbortSignal }) =>
          client.getMetrics(owner, stage.name, { maxPoints: Math.ceil(maxPoints / stages.length) }, { signal }),
        // The hints of a run are about its progress too: a finished stage never changes.
        staleTime: stage.finishedAt === null ? 10_000 : Number.POSITIVE_INFINITY,
      };
    }),
  });
  // The run that trained a reused stage may have given it another name.
  const failed = answers.find(({ error }, index) => error !== null && stages[index]?.reusedFrom === null);
  if (failed !== undefined) return <ProblemNotice error={failed.error} onRetry={() => void failed.refetch()} />;
  if (answers.some(({ data, error }) => data === undefined && error === null)) return <p role="status">Loading …</p>;

  const known = stages.flatMap((stage, index) => {
    const metrics = answers[index]?.data;
    return metrics === undefined || metrics.series.length === 0 ? [] : [{ stage, metrics }];
  });
  if (known.length === 0)
    return (
      <p>
        {stages.every(({ reusedFrom }) => reusedFrom !== null)
          ? 'The curves of the run that trained this are not known.'
          : 'No curve has been reported yet.'}
      </p>
    );
  const { curves, marks } = chainCurves(
    known.map(({ stage, metrics }) => ({ ...metrics, name: stage.name, stepsPerEpoch: stepsPerEpochOf(stage, metrics) })),
    x,
    smoothing,
  );
  const ordered = Object.entries(curveKinds).flatMap(([name, kind]) => {
    const curve = curves.find((each) => each.name === name);
    // A stage without GPUs uses none of their memory.
    const isEmpty = name === 'gpu_memory_bytes' && curve?.values.every((value) => value === null || value === 0);
    return curve === undefined || isEmpty ? [] : [{ ...kind, curve }];
  });
  const others = curves
    .filter(({ name }) => !Object.hasOwn(curveKinds, name))
    .map((curve) => ({ curve, title: curve.name, best: null, format: curveDigits }));
  return (
    <>
      {known.some(({ metrics }) => metrics.attempts.length > 1) && (
        <p className={classes.note}>A dashed line with the number of an attempt marks where it continues from the checkpoint of another.</p>
      )}
      {known.some(({ metrics }) => metrics.decimated) && (
        <p className={classes.note}>Long curves are shown by {formatCount(maxPoints)} of their points.</p>
      )}
      <Origins stages={known.map(({ stage }) => stage)} />
      <div className={chartClasses.charts}>
        {[...ordered, ...others].map((one) => (
          <CurveChart
            key={one.curve.name}
            {...one}
            x={x}
            marks={marks}
            isLog={scale === 'log'}
            isSmoothed={smoothing > 0}
            hoverGroup={run.id}
          />
        ))}
      </div>
    </>
  );
}

/** Whose curves those of reused stages are. */
function Origins({ stages }: { stages: readonly StepView[] }) {
  const origins = new Map(stages.flatMap(({ reusedFrom }) => (reusedFrom === null ? [] : [[reusedFrom.runId, reusedFrom.runName]])));
  if (origins.size === 0) return null;
  const namesOf = (runId: string) => stages.filter(({ reusedFrom }) => reusedFrom?.runId === runId).map(({ name }) => name);
  return (
    <p className={classes.note}>
      Reused, with the curves of the run that trained them:{' '}
      {[...origins].map(([runId, runName], index) => (
        <span key={runId}>
          {index > 0 && '; '}
          {namesOf(runId).join(', ')} of{' '}
          <Link to="/runs/$runId" params={{ runId }} search={{ tab: 'training' }}>
            {runName}
          </Link>
        </span>
      ))}
    </p>
  );
}

/**
 * A stage reports its optimizer steps in all; they are as many for every epoch. One that was reused has reported them to another run: its
 * last step is the last of its epochs. Null before a stage begins.
 */
function stepsPerEpochOf({ progress, settings, reusedFrom }: StepView, { series }: MetricsView): number | null {
  const epochs = Number(settings.lastEpoch ?? settings.epochs);
  const total =
    reusedFrom !== null
      ? Math.max(0, ...series.map(({ steps }) => steps.at(-1) ?? 0))
      : progress !== null && progress.unit === 'steps'
        ? progress.total
        : 0;
  return total === 0 || !(epochs > 0) ? null : total / epochs;
}

const maxRows = 20;

/** The newest checkpoints of the stages: what an attempt can resume from, and what a stage made. */
function Checkpoints({ run, stages }: { run: RunView; stages: readonly StepView[] }) {
  const { client } = useServices();
  const own = stages.filter(({ attempts }) => attempts > 0);
  const answers = useQueries({
    queries: own.map((stage) => ({
      // A stored checkpoint is an event of the run.
      queryKey: keys.runPart(run.id, 'timeline', 'checkpoints', stage.name),
      queryFn: ({ signal }: { signal: AbortSignal }) => client.listCheckpoints(run.id, stage.name, { signal }),
    })),
  });
  const failed = answers.find(({ error }) => error !== null);
  const rows = own
    .flatMap(({ name }, index) => (answers[index]?.data?.items ?? []).map((checkpoint) => ({ stage: name, ...checkpoint })))
    .toSorted((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt));
  const total = answers.reduce((sum, { data }) => sum + (data?.total ?? 0), 0);
  if (failed !== undefined) return <ProblemNotice error={failed.error} onRetry={() => void failed.refetch()} />;
  if (rows.length === 0) return null;
  return (
    <section className={classes.checkpoints} aria-labelledby="checkpoints">
      <h2 id="checkpoints">Checkpoints</h2>
      <div className={classes.scroll}>
        <table>
          <thead>
            <tr>
              <th>Stage</th>
              <th data-number>Step</th>
              <th data-number>Epoch</th>
              <th data-number>Size</th>
              <th data-number>Attempt</th>
              <th>Stored</th>
              <th>Verified</th>
              <th>File</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, maxRows).map(({ id, stage, step, epoch, bytes, ordinal, createdAt, verifiedAt, ...one }) => (
              <tr key={id}>
                <th scope="row">{stage}</th>
                <td data-number>{formatCount(step)}</td>
                <td data-number>{epoch.toFixed(2)}</td>
                <td data-number>{formatBytes(bytes)}</td>
                <td data-number>{ordinal}</td>
                <td>
                  <Ago at={createdAt} />
                </td>
                <td>{verifiedAt === null ? 'not yet' : <Ago at={verifiedAt} />}</td>
                <td>{checkpointFate(one)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {total > maxRows && (
        <p className={classes.note}>
          The newest {maxRows} of {formatCount(total)}.
        </p>
      )}
    </section>
  );
}

type CurveChartProps = {
  title: string;
  curve: ChainedCurve;
  /** Which end of the range is the best value; null where neither is. */
  best: 'least' | 'most' | null;
  format: (value: number) => string;
  x: CurveX;
  marks: readonly CurveMark[];
  isLog: boolean;
  isSmoothed: boolean;
  /** Charts of a group show the same position under the pointer. */
  hoverGroup: string;
};

const axes = { step: 'whole', epoch: 'number', time: 'time' } as const satisfies Record<CurveX, string>;

/** One curve. It is drawn while it is on the screen. */
function CurveChart({ title, curve, best, format, x, marks, isLog, isSmoothed, hoverGroup }: CurveChartProps) {
  const { ref: viewport, inViewport } = useInViewport<HTMLElement>();
  const finite = curve.values.filter(isFiniteNumber);
  const last = curve.values.at(-1);
  const bestValue =
    best === null || finite.length === 0 ? null : finite.reduce((a, b) => (best === 'least' ? Math.min(a, b) : Math.max(a, b)));
  const { xs, values, smoothed } = curve;
  const lines = [
    { label: 'value', colour: isSmoothed ? plotFaintTeal : plotTeal, width: 1.5, xs, values },
    ...(isSmoothed ? [{ label: 'smoothed', colour: plotTeal, width: 2, xs, values: smoothed }] : []),
  ];
  return (
    <figure ref={viewport} className={chartClasses.chart} aria-label={title}>
      <figcaption>
        <strong>{title}</strong>
        {last != null && ` last ${format(last)} at step ${formatCount(curve.end.step)} of ${curve.end.stage}`}
        {bestValue !== null && `, best ${format(bestValue)}`}
      </figcaption>
      <div style={{ minHeight: plotHeight + 30 }}>
        {inViewport && (
          <Plot lines={lines} x={{ label: x, kind: axes[x] }} format={format} marks={marks} isLog={isLog} hoverGroup={hoverGroup} />
        )}
      </div>
    </figure>
  );
}

const isFiniteNumber = (value: number | null): value is number => Number.isFinite(value);

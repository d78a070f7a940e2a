import type { MetricsView, RunComparison } from '@cairn/contract';
import { NativeSelect } from '@mantine/core';
import { useInViewport } from '@mantine/hooks';
import { useQueries } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import chartClasses from '../../parts/charts.module.css';
import { curveDigits, curveKinds, smooth } from '../../parts/curve-kinds.ts';
import { Plot, type PlotLine, plotHeight } from '../../parts/plot.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import classes from './compare.module.css';
import type { CompareSearch } from './compare-search.ts';
import { letterOf, lookOf } from './compared-steps.tsx';

const maxPoints = 1_000;

/** The curves of one training stage in all runs, over each other. */
export default function ComparedCurves({ comparison: { runs, steps } }: { comparison: RunComparison }) {
  const { client } = useServices();
  const { stage: chosen, x = 'step', scale = 'linear', smoothing = 0 } = useSearch({ from: '/signed-in/compare' });
  const navigate = useNavigate({ from: '/compare' });
  const change = (part: Partial<CompareSearch>): void =>
    void navigate({ search: (old) => ({ ...old, ...part }), replace: true, resetScroll: false });
  const stages = steps.filter(({ kind }) => kind === 'train');
  const stage = stages.find(({ name }) => name === chosen) ?? stages.at(-1);
  const answers = useQueries({
    queries: runs.map((run, index) => {
      const step = stage?.of[index] ?? null;
      // A reused stage has the curves of the run that trained it.
      const owner = step?.reusedFrom?.runId ?? run.id;
      return {
        queryKey: keys.runPart(owner, 'metrics', stage?.name, 1),
        queryFn: ({ signal }: { signal: AbortSignal }) => client.getMetrics(owner, stage?.name ?? '', { maxPoints }, { signal }),
        enabled: step !== null,
        staleTime: step?.finishedAt == null ? 10_000 : Number.POSITIVE_INFINITY,
      };
    }),
  });
  const isLoading = answers.some(({ data, error, fetchStatus }) => data === undefined && error === null && fetchStatus === 'fetching');
  // The run that trained a reused stage may have given it another name.
  const failed = answers.find(({ error }, index) => error !== null && stage?.of[index]?.reusedFrom == null);
  const curves = curvesOf(
    answers.map(({ data }) => data ?? null),
    { x, smoothing, names: runs.map(({ name }) => name) },
  );
  return (
    <>
      <div className={chartClasses.choice}>
        <NativeSelect
          label="Stage"
          value={stage?.name ?? ''}
          data={stages.map(({ name }) => name)}
          onChange={({ currentTarget: { value } }) => change({ stage: value })}
        />
        <NativeSelect
          label="Horizontal axis"
          value={x}
          data={[
            { value: 'step', label: 'optimizer step' },
            { value: 'time', label: 'minutes since the first value' },
          ]}
          onChange={({ currentTarget: { value } }) => change({ x: value === 'time' ? 'time' : undefined })}
        />
        <NativeSelect
          label="Vertical axis"
          value={scale}
          data={['linear', 'log']}
          onChange={({ currentTarget: { value } }) => change({ scale: value === 'log' ? 'log' : undefined })}
        />
        <label className={chartClasses.smoothing}>
          Smoothing {smoothing}
          <input
            type="range"
            min={0}
            max={0.98}
            step={0.02}
            value={smoothing}
            onChange={({ currentTarget: { value } }) => change({ smoothing: Number(value) || undefined })}
          />
        </label>
      </div>
      {failed !== undefined && <ProblemNotice error={failed.error} onRetry={() => void failed.refetch()} />}
      {curves.length === 0 &&
        (isLoading ? <p role="status">Loading …</p> : <p className={classes.empty}>No curve of this stage has been reported.</p>)}
      <div className={chartClasses.charts}>
        {curves.map((curve) => (
          <Chart key={curve.name} {...curve} x={x} isLog={scale === 'log'} />
        ))}
      </div>
    </>
  );
}

type Curve = { name: string; title: string; format: (value: number) => string; lines: PlotLine[] };

/** The series of all runs by name, in the order of the training page. */
function curvesOf(
  metrics: readonly (MetricsView | null)[],
  { x, smoothing, names }: { x: 'step' | 'time'; smoothing: number; names: readonly string[] },
): Curve[] {
  const known = new Set(metrics.flatMap((one) => one?.series.map(({ name }) => name) ?? []));
  const ordered = [
    ...Object.keys(curveKinds).filter((name) => known.has(name)),
    ...[...known].filter((name) => !Object.hasOwn(curveKinds, name)),
  ];
  return ordered.flatMap((name) => {
    const lines = metrics.flatMap((one, index): PlotLine[] => {
      const series = one?.series.find((each) => each.name === name);
      if (series === undefined || series.steps.length === 0) return [];
      const begin = series.times[0] ?? 0;
      const { colour, dash } = lookOf(index);
      return [
        {
          label: `${letterOf(index)} ${names[index]}`,
          colour,
          width: 1.75,
          ...(dash.length === 0 ? {} : { dash }),
          xs: x === 'step' ? series.steps : series.times.map((time) => (time - begin) / 60),
          values: smooth(series.values, smoothing),
        },
      ];
    });
    // Stages without GPUs use none of their memory.
    const isEmpty = name === 'gpu_memory_bytes' && lines.every(({ values }) => values.every((value) => value === null || value === 0));
    const kind = Object.hasOwn(curveKinds, name) ? curveKinds[name as keyof typeof curveKinds] : { title: name, format: curveDigits };
    return isEmpty || lines.length === 0 ? [] : [{ name, title: kind.title, format: kind.format, lines }];
  });
}

function Chart({ title, format, lines, x, isLog }: Curve & { x: 'step' | 'time'; isLog: boolean }) {
  const { ref, inViewport } = useInViewport<HTMLElement>();
  return (
    <figure ref={ref} className={classes.chart} aria-label={title}>
      <figcaption>
        <strong>{title}</strong>
        {lines.map(({ label, values }) => {
          const last = values.at(-1);
          return last == null ? null : <span key={label}>{` ${label}: ${format(last)}`}</span>;
        })}
      </figcaption>
      <div style={{ minHeight: plotHeight + 30 }}>
        {inViewport && (
          <Plot
            lines={lines}
            x={x === 'step' ? { label: 'step', kind: 'whole' } : { label: 'minutes', kind: 'number' }}
            format={format}
            isLog={isLog}
            hoverGroup="comparison"
          />
        )}
      </div>
    </figure>
  );
}

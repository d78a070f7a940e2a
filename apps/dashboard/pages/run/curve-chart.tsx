import 'uplot/dist/uPlot.min.css';
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize, useInViewport } from '@mantine/hooks';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import { useTimeZone } from '../../app/preferences.ts';
import { formatCount } from '../../parts/numbers.ts';
import type { ChainedCurve, CurveMark, CurveX } from './curves.ts';
import classes from './training.module.css';

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

const height = 220;
const wholeDistances = Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((one) => one * 10 ** power)).flat();
const colours = {
  light: { line: '#0d6b64', faint: '#0d6b6455', grid: '#d9dee4', text: '#52606d', mark: '#8a4a06' },
  dark: { line: '#5fd0c5', faint: '#5fd0c555', grid: '#333c47', text: '#a3afbb', mark: '#ffcb8c' },
} as const;

/** One curve. It is drawn while it is on the screen. */
export function CurveChart(props: CurveChartProps) {
  const { title, curve, best, format } = props;
  const { ref: viewport, inViewport } = useInViewport<HTMLElement>();
  const finite = curve.values.filter(isFiniteNumber);
  const last = curve.values.at(-1);
  const bestValue =
    best === null || finite.length === 0 ? null : finite.reduce((a, b) => (best === 'least' ? Math.min(a, b) : Math.max(a, b)));
  return (
    <figure ref={viewport} className={classes.chart} aria-label={title}>
      <figcaption>
        <strong>{title}</strong>
        {last != null && ` last ${format(last)} at step ${formatCount(curve.end.step)} of ${curve.end.stage}`}
        {bestValue !== null && `, best ${format(bestValue)}`}
      </figcaption>
      <div style={{ minHeight: height + 30 }}>{inViewport && <Plot {...props} />}</div>
    </figure>
  );
}

const isFiniteNumber = (value: number | null): value is number => Number.isFinite(value);

function Plot({ curve, format, x, marks, isLog, isSmoothed, hoverGroup }: CurveChartProps) {
  const { ref: size, width } = useElementSize<HTMLDivElement>();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const scheme = useComputedColorScheme('light');
  const [zone] = useTimeZone();
  // A logarithmic axis has no place for zero and less.
  const drawn = (values: ChainedCurve['values']) => values.map((value) => (isFiniteNumber(value) && (!isLog || value > 0) ? value : null));
  const data: uPlot.AlignedData = [curve.xs, drawn(curve.values), ...(isSmoothed ? [drawn(curve.smoothed)] : [])];
  const latest = useRef({ data, marks, format });
  latest.current = { data, marks, format };

  useEffect(() => {
    if (place.current === null || width === 0) return;
    const colour = colours[scheme];
    const axis = { stroke: colour.text, grid: { stroke: colour.grid, width: 1 }, ticks: { stroke: colour.grid, width: 1 } };
    const shown = (value: number | null): string => (value === null ? '' : latest.current.format(value));
    const made = new uPlot(
      {
        width,
        height,
        ...(zone === 'utc' ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), 'UTC') } : {}),
        scales: { x: { time: x === 'time' }, y: isLog ? { distr: 3 } : {} },
        // Optimizer steps are whole.
        axes: [
          { ...axis, ...(x === 'step' ? { incrs: wholeDistances } : {}) },
          { ...axis, size: 70, values: (_, ticks) => ticks.map(shown) },
        ],
        series: [
          { label: x },
          { label: 'value', stroke: isSmoothed ? colour.faint : colour.line, width: 1.5, value: (_, value) => shown(value) },
          ...(isSmoothed
            ? [{ label: 'smoothed', stroke: colour.line, width: 2, value: (_: uPlot, value: number | null) => shown(value) }]
            : []),
        ],
        legend: { markers: { show: false } },
        cursor: { sync: { key: hoverGroup } },
        hooks: { draw: [(plotted) => drawMarks(plotted, latest.current.marks, colour.mark)] },
      },
      latest.current.data,
      place.current,
    );
    plot.current = made;
    return () => {
      plot.current = null;
      made.destroy();
    };
  }, [width, scheme, zone, x, isLog, isSmoothed, hoverGroup]);

  // New points, without a new chart: the position under the pointer stays.
  useEffect(() => plot.current?.setData(data));

  return (
    <div ref={size}>
      <div ref={place} />
    </div>
  );
}

/** A dashed line where a stage begins or an attempt continues, with its name. */
function drawMarks(plot: uPlot, marks: readonly CurveMark[], colour: string): void {
  const { ctx, bbox } = plot;
  const { min = null, max = null } = plot.scales.x ?? {};
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.fillStyle = colour;
  ctx.textAlign = 'left';
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  // A name that would lie on another one is a row lower.
  const ends: number[] = [];
  for (const { at, label } of marks) {
    if (min === null || max === null || at < min || at > max) continue;
    const left = Math.round(plot.valToPos(at, 'x', true));
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    const begin = left + 4 * devicePixelRatio;
    const free = ends.findIndex((end) => end < begin);
    const row = free < 0 ? ends.length : free;
    ends[row] = begin + ctx.measureText(label).width;
    ctx.fillText(label, begin, bbox.top + (row + 1) * 12 * devicePixelRatio);
  }
  ctx.restore();
}

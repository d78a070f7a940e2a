import 'uplot/dist/uPlot.min.css';
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import { useTimeZone } from '../app/preferences.ts';

export const plotHeight = 220;

/** A colour in both themes. */
export type PlotColour = Record<'light' | 'dark', string>;
export type PlotLine = {
  label: string;
  colour: PlotColour;
  width: number;
  /** Lengths of strokes and gaps in pixels; a whole line without them. */
  dash?: readonly number[];
  xs: readonly number[];
  /** Null where the line has a gap. */
  values: readonly (number | null)[];
};
export type PlotMark = { at: number; label: string };

type PlotProps = {
  lines: readonly PlotLine[];
  /** What the horizontal axis is: whole numbers such as optimizer steps, any numbers, or seconds since 1970. */
  x: { label: string; kind: 'whole' | 'number' | 'time' };
  format: (value: number) => string;
  marks?: readonly PlotMark[];
  isLog: boolean;
  /** Charts of a group show the same position under the pointer. */
  hoverGroup: string;
};

const wholeDistances = Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((one) => one * 10 ** power)).flat();
const colours = {
  light: { grid: '#d9dee4', text: '#52606d', mark: '#8a4a06' },
  dark: { grid: '#333c47', text: '#a3afbb', mark: '#ffcb8c' },
} as const;

export const plotTeal: PlotColour = { light: '#0d6b64', dark: '#5fd0c5' };
export const plotFaintTeal: PlotColour = { light: '#0d6b6455', dark: '#5fd0c555' };

/** Lines over one axis. New points do not make a new chart: the position under the pointer stays. */
export function Plot({ lines, x, format, marks = [], isLog, hoverGroup }: PlotProps) {
  const { ref: size, width } = useElementSize<HTMLDivElement>();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const scheme = useComputedColorScheme('light');
  const [zone] = useTimeZone();
  const data = dataOf(lines, isLog);
  const latest = useRef({ lines, data, marks, format });
  latest.current = { lines, data, marks, format };
  const looks = lines.map(({ label, colour, width: stroke, dash }) => [label, colour[scheme], stroke, dash].join(' ')).join('\n');

  // biome-ignore lint/correctness/useExhaustiveDependencies: `looks` is what a new chart takes of the lines; their points are set below.
  useEffect(() => {
    if (place.current === null || width === 0) return;
    const colour = colours[scheme];
    const axis = { stroke: colour.text, grid: { stroke: colour.grid, width: 1 }, ticks: { stroke: colour.grid, width: 1 } };
    const shown = (value: number | null): string => (value === null ? '' : latest.current.format(value));
    const made = new uPlot(
      {
        width,
        height: plotHeight,
        ...(zone === 'utc' ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), 'UTC') } : {}),
        scales: { x: { time: x.kind === 'time' }, y: isLog ? { distr: 3 } : {} },
        axes: [
          { ...axis, ...(x.kind === 'whole' ? { incrs: wholeDistances } : {}) },
          { ...axis, size: 70, values: (_, ticks) => ticks.map(shown) },
        ],
        series: [
          { label: x.label },
          ...latest.current.lines.map(({ label, colour: own, width: stroke, dash }) => ({
            label,
            stroke: own[scheme],
            width: stroke,
            ...(dash === undefined ? {} : { dash: [...dash] }),
            value: (_: uPlot, value: number | null) => shown(value),
          })),
        ],
        legend: { markers: { show: latest.current.lines.length > 2 } },
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
  }, [width, scheme, zone, x.kind, x.label, isLog, looks, hoverGroup]);

  useEffect(() => plot.current?.setData(data));

  return (
    <div ref={size}>
      <div ref={place} />
    </div>
  );
}

/** Lines that share their positions are drawn as they are; others over the positions of all. */
function dataOf(lines: readonly PlotLine[], isLog: boolean): uPlot.AlignedData {
  // A logarithmic axis has no place for zero and less.
  const drawn = lines.map(({ xs, values }) => ({
    xs: [...xs],
    ys: values.map((value) => (value !== null && Number.isFinite(value) && (!isLog || value > 0) ? value : null)),
  }));
  const [first] = lines;
  if (first === undefined) return [[]];
  if (lines.every(({ xs }) => xs === first.xs)) return [[...first.xs], ...drawn.map(({ ys }) => ys)];
  return uPlot.join(drawn.map(({ xs, ys }) => [xs, ys]));
}

/** A dashed line where a stage begins or an attempt continues, with its name. */
function drawMarks(plot: uPlot, marks: readonly PlotMark[], colour: string): void {
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
    const { width } = ctx.measureText(label);
    const gap = 4 * devicePixelRatio;
    // Before the line where there is no room after it.
    const begin = left + gap + width > bbox.left + bbox.width ? left - gap - width : left + gap;
    const free = ends.findIndex((end) => end < begin);
    const row = free < 0 ? ends.length : free;
    ends[row] = begin + width;
    ctx.fillText(label, begin, bbox.top + (row + 1) * 12 * devicePixelRatio);
  }
  ctx.restore();
}

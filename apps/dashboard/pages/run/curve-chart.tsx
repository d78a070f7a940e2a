import { useInViewport } from '@mantine/hooks';
import { formatCount } from '../../parts/numbers.ts';
import { Plot, plotFaintTeal, plotHeight, plotTeal } from '../../parts/plot.tsx';
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

const axes = { step: 'whole', epoch: 'number', time: 'time' } as const satisfies Record<CurveX, string>;

/** One curve. It is drawn while it is on the screen. */
export function CurveChart({ title, curve, best, format, x, marks, isLog, isSmoothed, hoverGroup }: CurveChartProps) {
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
    <figure ref={viewport} className={classes.chart} aria-label={title}>
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

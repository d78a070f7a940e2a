import type { MetricsView } from '@cairn/contract';
import { smooth } from '../../parts/curve-kinds.ts';

export type CurveX = 'step' | 'epoch' | 'time';

/** The curves of one stage; its steps are as many in every epoch. */
export type StageCurves = Pick<MetricsView, 'series' | 'attempts'> & { name: string; stepsPerEpoch: number | null };

/** A line over stages; null where one ends and the next begins. */
export type ChainedCurve = {
  name: string;
  xs: number[];
  values: (number | null)[];
  smoothed: (number | null)[];
  end: { stage: string; step: number };
};
export type CurveMark = { at: number; label: string };

/**
 * The curves of stages one after another, each beginning where the one before it ended (by time: when it did), and marks where a stage
 * begins and where an attempt continues the line of the one before it. A curve is smoothed within a stage.
 */
export function chainCurves(stages: readonly StageCurves[], x: CurveX, smoothing: number): { curves: ChainedCurve[]; marks: CurveMark[] } {
  const curves = new Map<string, ChainedCurve>();
  const marks: CurveMark[] = [];
  let begin = 0;
  for (const { name, series, attempts, stepsPerEpoch } of stages) {
    const scale = x === 'epoch' && stepsPerEpoch !== null ? 1 / stepsPerEpoch : 1;
    const times = series.flatMap((one) => one.times[0] ?? []);
    const first = x === 'time' ? Math.min(...times) : begin;
    if (stages.length > 1 && times.length > 0) marks.push({ at: first, label: name });
    for (const { ordinal, resumedFrom, firstStep, startedAt } of attempts.slice(1)) {
      if (x !== 'time') marks.push({ at: begin + (resumedFrom ?? firstStep) * scale, label: `attempt ${ordinal}` });
      else if (startedAt !== null) marks.push({ at: Date.parse(startedAt) / 1000, label: `attempt ${ordinal}` });
    }
    for (const one of series) {
      const step = one.steps.at(-1);
      if (step === undefined) continue;
      const xs = x === 'time' ? one.times : one.steps.map((each) => begin + each * scale);
      const before = curves.get(one.name);
      const gap = before === undefined ? [] : [null];
      curves.set(one.name, {
        name: one.name,
        xs: [...(before?.xs ?? []), ...gap.map(() => first), ...xs],
        values: [...(before?.values ?? []), ...gap, ...one.values],
        smoothed: [...(before?.smoothed ?? []), ...gap, ...smooth(one.values, smoothing)],
        end: { stage: name, step },
      });
    }
    begin += Math.max(0, ...series.map((one) => (one.steps.at(-1) ?? 0) * scale));
  }
  return { curves: [...curves.values()], marks };
}

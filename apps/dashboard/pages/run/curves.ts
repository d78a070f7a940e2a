import type { MetricsView } from '@cairn/contract';

export type CurveX = 'step' | 'epoch' | 'time';
type Series = MetricsView['series'][number];
type Attempt = MetricsView['attempts'][number];

/**
 * An exponential moving average without the bias towards zero at its start (Kingma and Ba 2014, section 3). `weight` is 0 for none, and
 * below 1. Values that are not numbers are passed on and not averaged.
 */
export function smooth(values: readonly (number | null)[], weight: number): (number | null)[] {
  if (weight === 0) return [...values];
  let mean = 0;
  let share = 1;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    mean = weight * mean + (1 - weight) * value;
    share *= weight;
    return mean / (1 - share);
  });
}

/** The horizontal position of each point: optimizer steps, epochs with fraction, or seconds since 1970. */
export function positions({ steps, times }: Series, x: CurveX, stepsPerEpoch: number | null): number[] {
  if (x === 'time') return times;
  if (x === 'epoch' && stepsPerEpoch !== null) return steps.map((step) => step / stepsPerEpoch);
  return steps;
}

/** Where an attempt continues the line of the one before it. */
export function breaks(attempts: readonly Attempt[], x: CurveX, stepsPerEpoch: number | null): { at: number; ordinal: number }[] {
  return attempts.slice(1).flatMap(({ ordinal, resumedFrom, firstStep, startedAt }) => {
    const step = resumedFrom ?? firstStep;
    if (x === 'time') return startedAt === null ? [] : [{ at: Date.parse(startedAt) / 1000, ordinal }];
    return [{ at: x === 'epoch' && stepsPerEpoch !== null ? step / stepsPerEpoch : step, ordinal }];
  });
}

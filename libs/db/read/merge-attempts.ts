import type { Points } from './lttb.ts';

/** The points of one metric that one attempt reported, in order. */
export type AttemptPoints = Points & {
  /** The step of the checkpoint that the attempt went on from; null when it began at the beginning. */
  resumedAtStep: number | null;
};

/**
 * The curve of a step over its attempts, oldest first: what an attempt that goes on from step k reports replaces the earlier
 * points after k, because those steps were trained again. Pure.
 */
export function mergeResumed(attempts: readonly AttemptPoints[]): Points {
  const merged: Points = { steps: [], values: [], times: [] };
  for (const { resumedAtStep, steps, values, times } of attempts) {
    if (steps.length === 0) continue;
    const keep = merged.steps.findIndex((step) => step > (resumedAtStep ?? -1));
    if (keep >= 0) for (const numbers of [merged.steps, merged.values, merged.times]) numbers.length = keep;
    append(merged, { steps, values, times });
  }
  return merged;
}

/** The curve of a fleet, whose attempts work side by side: all points in order of time. Pure. */
export function mergeFleet(attempts: readonly Points[]): Points {
  const all: Points = { steps: [], values: [], times: [] };
  for (const points of attempts) append(all, points);
  const order = all.times.map((_, index) => index).sort((a, b) => (all.times[a] ?? 0) - (all.times[b] ?? 0) || a - b);
  const inOrder = (numbers: readonly number[]) => order.map((index) => numbers[index] ?? 0);
  return { steps: inOrder(all.steps), values: inOrder(all.values), times: inOrder(all.times) };
}

function append(to: Points, from: Points): void {
  // Not push(...): a long curve has more points than a call may have arguments.
  for (const value of from.steps) to.steps.push(value);
  for (const value of from.values) to.values.push(value);
  for (const value of from.times) to.times.push(value);
}

import type { MetricsView } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { readNullable, resumedFromColumn } from './columns.ts';
import { findStepRow, type StepArgs } from './steps.ts';

type MetricsArgs = StepArgs & {
  /** Only these metrics; defaults to all. */
  names?: readonly string[] | undefined;
  /** Most points of a series; longer ones are decimated. */
  maxPoints: number;
};

/** The curves of a step, merged over its attempts and decimated; `decimated` says whether any was. */
export async function readMetrics(db: Transaction, args: MetricsArgs): Promise<MetricsView> {
  const step = await findStepRow(db, args);
  const attempts = await db.attempt.findMany({
    where: { stepId: step.id },
    orderBy: { ordinal: 'asc' },
    select: { id: true, resumedFrom: true },
  });
  const chunks = await db.metricChunk.findMany({
    where: { stepId: step.id, ...(args.names === undefined ? {} : { name: { in: [...args.names] } }) },
    orderBy: [{ name: 'asc' }, { attemptId: 'asc' }, { chunk: 'asc' }],
    select: { attemptId: true, name: true, steps: true, values: true, times: true },
  });
  const byName = Map.groupBy(chunks, (chunk) => chunk.name);
  let isDecimated = false;
  const series = [...byName].map(([name, ofName]) => {
    const byAttempt = Map.groupBy(ofName, (chunk) => chunk.attemptId);
    const curves = attempts.map((attempt): AttemptPoints => {
      const own = byAttempt.get(attempt.id) ?? [];
      return {
        resumedAtStep: readNullable(resumedFromColumn, attempt.resumedFrom, `attempt ${attempt.id} resumed_from`)?.step ?? null,
        steps: own.flatMap((chunk) => chunk.steps),
        values: own.flatMap((chunk) => chunk.values),
        times: own.flatMap((chunk) => chunk.times),
      };
    });
    const merged = step.shardsTotal !== null ? mergeFleet(curves) : mergeResumed(curves);
    isDecimated ||= merged.steps.length > args.maxPoints;
    return { name, ...lttb(merged, args.maxPoints) };
  });
  return { series, decimated: isDecimated };
}

/** The points of one metric that one attempt reported, in order. */
type AttemptPoints = Points & {
  /** The optimizer step of the checkpoint that the attempt resumed from; null when it started from the beginning. */
  resumedAtStep: number | null;
};

/**
 * The curve of a step over its attempts, oldest first: points of an attempt that resumes from optimizer step k replace the earlier points
 * after k, because those steps were trained again. Pure.
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

/** The curve of a fleet, whose attempts work in parallel: all points in order of time. Pure. */
function mergeFleet(attempts: readonly Points[]): Points {
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

/** Points of one curve: equally long arrays. */
export type Points = { steps: number[]; values: number[]; times: number[] };

/**
 * Largest-triangle-three-buckets (S. Steinarsson, "Downsampling Time Series for Visual Representation", 2013): keeps the first and the last
 * point and from each bucket between them the one that forms the largest triangle with the previously kept point and the next bucket's
 * mean, so that peaks stay visible. `steps` must ascend; at most `maxPoints` (>= 2) remain.
 */
export function lttb(points: Points, maxPoints: number): Points {
  const { steps, values } = points;
  const count = steps.length;
  if (count <= maxPoints) return points;
  const kept = [0];
  const buckets = maxPoints - 2;
  const size = (count - 2) / buckets;
  const edge = (bucket: number) => Math.floor(bucket * size) + 1;
  for (let bucket = 0, previous = 0; bucket < buckets; bucket += 1) {
    const next = mean(points, edge(bucket + 1), bucket + 1 < buckets ? edge(bucket + 2) : count);
    let best = edge(bucket);
    let bestArea = -1;
    for (let index = edge(bucket); index < edge(bucket + 1); index += 1) {
      const area = Math.abs(
        (at(steps, previous) - next.step) * (at(values, index) - at(values, previous)) -
          (at(steps, previous) - at(steps, index)) * (next.value - at(values, previous)),
      );
      if (area > bestArea) {
        bestArea = area;
        best = index;
      }
    }
    kept.push(best);
    previous = best;
  }
  kept.push(count - 1);
  return { steps: pick(steps, kept), values: pick(values, kept), times: pick(points.times, kept) };
}

function mean({ steps, values }: Points, from: number, to: number): { step: number; value: number } {
  let step = 0;
  let value = 0;
  for (let index = from; index < to; index += 1) {
    step += at(steps, index);
    value += at(values, index);
  }
  return { step: step / (to - from), value: value / (to - from) };
}

const at = (numbers: readonly number[], index: number): number => numbers[index] ?? 0;
const pick = (numbers: readonly number[], indices: readonly number[]): number[] => indices.map((index) => at(numbers, index));

import type { MetricsView } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { readNullable, resumedFromColumn } from './columns.ts';
import { findStepRow, type StepArgs } from './get-step.ts';
import { lttb } from './lttb.ts';
import { type AttemptPoints, mergeFleet, mergeResumed } from './merge-attempts.ts';

export type MetricsArgs = StepArgs & {
  /** Only these metrics; all without it. */
  names?: readonly string[] | undefined;
  /** Most points of a series; longer ones are decimated. */
  maxPoints: number;
};

/** The curves of a step, merged over its attempts and decimated; says whether any was. */
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
    const merged = step.kind === 'extract' ? mergeFleet(curves) : mergeResumed(curves);
    isDecimated ||= merged.steps.length > args.maxPoints;
    return { name, ...lttb(merged, args.maxPoints) };
  });
  return { series, decimated: isDecimated };
}

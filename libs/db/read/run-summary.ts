import { isDoneStep, type RunSummary, runState, runVerdict, stepState } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import type { Prisma } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, readColumn } from './columns.ts';

/** The columns of a run that views show: not its recipe, which may be long. */
export const runColumns = {
  id: true,
  name: true,
  recipeName: true,
  owner: true,
  state: true,
  cause: true,
  verdict: true,
  priority: true,
  noReuse: true,
  seq: true,
  createdAt: true,
  startedAt: true,
  finishedAt: true,
  dataset: { select: { name: true, version: true } },
} as const satisfies Prisma.RunSelect;

export type RunRow = Prisma.RunGetPayload<{ select: typeof runColumns }>;
export type StepCounts = RunSummary['steps'];

export function runSummaryOf(run: RunRow, steps: StepCounts): RunSummary {
  return {
    id: run.id,
    name: run.name,
    recipe: run.recipeName,
    dataset: `${run.dataset.name}@${run.dataset.version}`,
    owner: run.owner,
    state: readColumn(runState, run.state, `run ${run.id} state`),
    cause: run.cause,
    verdict: readColumn(runVerdict, run.verdict, `run ${run.id} verdict`),
    priority: run.priority,
    seq: run.seq,
    steps,
    createdAt: isoTime(run.createdAt),
    startedAt: isoTimeOrNull(run.startedAt),
    finishedAt: isoTimeOrNull(run.finishedAt),
  };
}

/** Step counts of each run: total, done (including reused) and reused. One query. */
export async function countSteps(db: Transaction, runIds: readonly string[]): Promise<Map<string, StepCounts>> {
  const counts = new Map<string, StepCounts>();
  if (runIds.length === 0) return counts;
  const groups = await db.step.groupBy({ by: ['runId', 'state'], where: { runId: { in: [...runIds] } }, _count: true });
  for (const { runId, state, _count } of groups) {
    const steps = counts.get(runId) ?? { total: 0, done: 0, reused: 0 };
    steps.total += _count;
    if (isDoneStep(readColumn(stepState, state, `a step of run ${runId} state`))) steps.done += _count;
    if (state === 'reused') steps.reused += _count;
    counts.set(runId, steps);
  }
  return counts;
}

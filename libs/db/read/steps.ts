import {
  type AttemptView,
  attemptPurpose,
  attemptState,
  CairnError,
  isLiveAttempt,
  runState,
  type StepView,
  type shardCounts,
  type shardList,
  shardState,
} from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Prisma } from '../generated/client.ts';
import { failureColumn, findingColumn, isoTime, isoTimeOrNull, readColumn, readNullable, readRows, resumedFromColumn } from './columns.ts';
import { runNotFound } from './get-run.ts';
import { loadHoldReason } from './holds.ts';
import { type AdmissionSource, loadStepViews } from './step-views.ts';

export type StepArgs = { projectId: string; runId: string; name: string };

/**
 * One step of a run by its name.
 *
 * @throws CairnError `not_found`, naming the run's steps
 */
export async function getStep(db: Transaction, args: StepArgs & { admission?: AdmissionSource | undefined }): Promise<StepView> {
  const run = await db.run.findFirst({
    where: { id: args.runId, projectId: args.projectId },
    select: { id: true, name: true, state: true, hold: true, group: true, cause: true },
  });
  if (run === null) throw runNotFound(args.runId);
  const state = readColumn(runState, run.state, `run ${run.id} state`);
  const held = await loadHoldReason(db, run);
  const views = await loadStepViews(db, { id: run.id, name: run.name, state, held }, args.admission);
  const view = views.find((step) => step.name === args.name);
  if (view === undefined)
    throw stepNotFound(
      args,
      views.map((step) => step.name),
    );
  return view;
}

/** The row of a step, for views of one step. */
export async function findStepRow(db: Transaction, args: StepArgs) {
  const step = await db.step.findFirst({
    where: { runId: args.runId, name: args.name, run: { projectId: args.projectId } },
    select: { id: true, name: true, kind: true, shardsTotal: true, shardsCommitted: true, rows: true, rejected: true },
  });
  if (step !== null) return step;
  const run = await db.run.findFirst({
    where: { id: args.runId, projectId: args.projectId },
    select: { steps: { select: { name: true }, orderBy: { position: 'asc' } } },
  });
  throw run === null
    ? runNotFound(args.runId)
    : stepNotFound(
        args,
        run.steps.map((other) => other.name),
      );
}

const stepNotFound = (args: StepArgs, names: readonly string[]): CairnError =>
  new CairnError('not_found', `Run ${args.runId} has no step "${args.name}"; its steps are ${names.join(', ')}`);

const shardsPerPage = 1_000;

/** A page of a fleet's shards in order; empty for a step without shards, or before they are planned. */
export async function listShards(db: Transaction, { from, ...args }: StepArgs & { from: number }): Promise<z.infer<typeof shardList>> {
  const step = await findStepRow(db, args);
  const rows = await db.shard.findMany({
    where: { stepId: step.id, index: { gte: from } },
    orderBy: { index: 'asc' },
    take: shardsPerPage,
    select: {
      index: true,
      fromRow: true,
      count: true,
      state: true,
      attemptId: true,
      leaseUntil: true,
      tries: true,
      rows: true,
      rejected: true,
    },
  });
  const counts: z.infer<typeof shardCounts> = {
    total: step.shardsTotal ?? 0,
    committed: step.shardsCommitted,
    leased: await db.shard.count({ where: { stepId: step.id, state: 'leased' } }),
    rows: step.rows,
    rejected: step.rejected,
  };
  const items = rows.map(({ fromRow, state, leaseUntil, ...row }) => ({
    ...row,
    from: fromRow,
    state: readColumn(shardState, state, `shard ${row.index} of step ${step.id} state`),
    leaseUntil: isoTimeOrNull(leaseUntil),
  }));
  const last = rows.at(-1);
  return { counts, items, next: last && rows.length === shardsPerPage ? last.index + 1 : null };
}

const attemptColumns = {
  id: true,
  runId: true,
  stepId: true,
  ordinal: true,
  generation: true,
  state: true,
  purpose: true,
  failure: true,
  finding: true,
  contact: true,
  pool: true,
  place: true,
  resumedFrom: true,
  createdAt: true,
  startedAt: true,
  endedAt: true,
  lastContactAt: true,
  step: { select: { name: true } },
} as const satisfies Prisma.AttemptSelect;

const contactColumn = z.enum(['ok', 'silent', 'none']);

/** All attempts of a step, including earlier generations, oldest first. */
export async function listAttempts(db: Transaction, args: StepArgs): Promise<{ items: AttemptView[] }> {
  const step = await findStepRow(db, args);
  const rows = await db.attempt.findMany({ where: { stepId: step.id }, orderBy: { ordinal: 'asc' }, select: attemptColumns });
  const reached = await reachedSteps(db, rows);
  return { items: rows.map((row) => attemptViewOf(row, reached)) };
}

/** @throws CairnError `not_found` */
export async function getAttempt(db: Transaction, args: { projectId: string; attemptId: string }): Promise<AttemptView> {
  const row = await db.attempt.findFirst({
    where: { id: args.attemptId, step: { run: { projectId: args.projectId } } },
    select: attemptColumns,
  });
  if (row === null) throw new CairnError('not_found', `Attempt ${args.attemptId} not found`);
  return attemptViewOf(row, await reachedSteps(db, [row]));
}

const reachedRow = z.object({ attemptId: z.string(), step: z.number().int() });

/** The last optimizer step for which each attempt reported a metric; the steps of a chunk are in order. */
async function reachedSteps(db: Transaction, attempts: readonly { id: string }[]): Promise<Map<string, number>> {
  const rows = await db.$queryRaw`
    select attempt_id as "attemptId", max(steps[cardinality(steps)]) as step from metric_chunk
     where attempt_id = any(${attempts.map(({ id }) => id)}) and cardinality(steps) > 0 group by attempt_id`;
  return new Map(readRows(reachedRow, rows).map(({ attemptId, step }) => [attemptId, step]));
}

type AttemptRow = Prisma.AttemptGetPayload<{ select: typeof attemptColumns }>;

function attemptViewOf({ step, ...row }: AttemptRow, reached: ReadonlyMap<string, number>): AttemptView {
  const what = `attempt ${row.id}`;
  const state = readColumn(attemptState, row.state, `${what} state`);
  return {
    ...row,
    step: step.name,
    state,
    purpose: readColumn(attemptPurpose, row.purpose, `${what} purpose`),
    // An ended attempt shows its failure instead.
    finding: isLiveAttempt(state) ? readNullable(findingColumn, row.finding, `${what} finding`) : null,
    failure: readNullable(failureColumn, row.failure, `${what} failure`),
    contact: readColumn(contactColumn, row.contact, `${what} contact`),
    resumedFrom: readNullable(resumedFromColumn, row.resumedFrom, `${what} resumed_from`),
    reachedStep: reached.get(row.id) ?? null,
    createdAt: isoTime(row.createdAt),
    startedAt: isoTimeOrNull(row.startedAt),
    endedAt: isoTimeOrNull(row.endedAt),
    lastContactAt: isoTimeOrNull(row.lastContactAt),
  };
}

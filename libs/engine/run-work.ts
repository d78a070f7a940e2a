import { type AttemptState, artifactState, attemptState, CairnError, type RunState, type StepKind, type StepState } from '@cairn/contract';
import { inTransaction, type Transaction } from '@cairn/db';
import type { FailureCounts, StepNeed } from '@cairn/domain';
import { z } from 'zod';
import { failuresColumn, type Given, givenColumn, needsColumn, noReuseColumn, states } from './columns.ts';
import type { EngineContext } from './context.ts';
import {
  type AttemptColumns,
  type Change,
  noWrites,
  type PendingWrites,
  type RunColumns,
  type StepColumns,
  writePending,
} from './pending-writes.ts';
import { settle } from './settle.ts';

export type WorkAttempt = { id: string; state: AttemptState; ordinal: number; pool: string };

export type WorkArtifact = {
  id: string;
  state: 'building' | 'ready' | 'deleting';
  runId: string | null;
  stepName: string;
  digest: string | null;
  memoKey: string | null;
};

export type WorkStep = {
  id: string;
  name: string;
  kind: StepKind;
  settings: Record<string, unknown>;
  needs: StepNeed[];
  given: Given[];
  slots: number;
  maxAttempts: number;
  state: StepState;
  generation: number;
  artifact: WorkArtifact | null;
  /** Of this generation, in the order of their ordinals. */
  attempts: WorkAttempt[];
  /** The newest ordinal of any generation; 0 before the first attempt. */
  lastOrdinal: number;
  failures: FailureCounts;
  shardsTotal: number | null;
  shardsCommitted: number;
  startedAt: Date | null;
};

/**
 * A run under its row's lock: what a command sees and changes. Changes of the run, its steps and their attempts are kept until
 * the command ends ({@link changeStep}, {@link changeAttempt}, {@link changeRun}, {@link emit}, {@link enqueue}); other tables
 * are written at once.
 */
export type RunWork = {
  ctx: EngineContext;
  tx: Transaction;
  id: string;
  name: string;
  projectId: string;
  owner: string;
  state: RunState;
  seq: number;
  noReuse: boolean | string[];
  dataset: { digest: string };
  steps: WorkStep[];
  /** The command's time: whatever it changes, it changed then. */
  now: Date;
  pending: PendingWrites;
  /** Runs that wait for a result this command decided about; settled after the commit. */
  alsoSettle: Set<string>;
};

/** Locks a run, lets `work` change it, settles it (`advance` until nothing is left to do) and commits. */
export async function withRun<T>(ctx: EngineContext, runId: string, work: (run: RunWork) => Promise<T>): Promise<T> {
  const others = new Set<string>();
  const answer = await inTransaction(ctx.prisma, async (tx) => {
    const run = await loadRun(ctx, tx, runId, others);
    const value = await work(run);
    await settleAndWrite(run);
    return value;
  });
  others.delete(runId);
  for (const other of others) await settleRun(ctx, other);
  return answer;
}

/** Settles a run and writes what is pending of it. The caller settles `alsoSettle` after its commit. */
export async function settleAndWrite(run: RunWork): Promise<void> {
  await settle(run);
  await writePending(run.tx, run, run.pending);
}

/** Advances a run that something outside it may have unblocked. */
export async function settleRun(ctx: EngineContext, runId: string): Promise<void> {
  await withRun(ctx, runId, async () => undefined);
}

const runRow = z.object({
  id: z.string(),
  name: z.string(),
  projectId: z.string(),
  owner: z.string(),
  state: states.run,
  seq: z.number().int(),
  noReuse: noReuseColumn,
  dataset: z.object({ digest: z.string() }),
});

const stepRow = z.object({
  id: z.string(),
  name: z.string(),
  kind: states.kind,
  settings: z.record(z.string(), z.unknown()),
  needs: needsColumn,
  given: givenColumn,
  slots: z.number().int(),
  maxAttempts: z.number().int(),
  state: states.step,
  generation: z.number().int(),
  failures: failuresColumn,
  shardsTotal: z.number().int().nullable(),
  shardsCommitted: z.number().int(),
  startedAt: z.date().nullable(),
  artifact: z
    .object({
      id: z.string(),
      state: artifactState,
      runId: z.string().nullable(),
      stepName: z.string(),
      digest: z.string().nullable(),
      memoKey: z.string().nullable(),
    })
    .nullable(),
  lastOrdinal: z.number().int(),
  attempts: z.array(z.object({ id: z.string(), state: attemptState, ordinal: z.number().int(), pool: z.string() })),
});

/** Two statements: the second must see what was committed while the first waited for the lock. */
async function loadRun(ctx: EngineContext, tx: Transaction, runId: string, alsoSettle: Set<string>): Promise<RunWork> {
  const runs = await tx.$queryRaw<unknown[]>`
    select r.id, r.name, r.project_id as "projectId", r.owner, r.state, r.seq, r.no_reuse as "noReuse",
           jsonb_build_object('digest', d.digest) as dataset
      from run r join dataset d on d.id = r.dataset_id where r.id = ${runId} for update of r`;
  if (runs.length === 0) throw new CairnError('not_found', `there is no run ${runId}`);
  const steps = await tx.$queryRaw<unknown[]>`
    select s.id, s.name, s.kind, s.settings, s.needs, s.given, s.slots, s.max_attempts as "maxAttempts", s.state, s.generation, s.failures,
           s.shards_total as "shardsTotal", s.shards_committed as "shardsCommitted", s.started_at as "startedAt",
           case when f.id is not null then jsonb_build_object('id', f.id, 'state', f.state, 'runId', f.run_id, 'stepName', f.step_name,
             'digest', f.digest, 'memoKey', f.memo_key) end as artifact,
           coalesce(t.last, 0) as "lastOrdinal", coalesce(t.attempts, '[]') as attempts
      from step s
      left join artifact f on f.id = s.artifact_id
      left join lateral (
        select max(a.ordinal) as last, jsonb_agg(jsonb_build_object('id', a.id, 'state', a.state, 'ordinal', a.ordinal, 'pool', a.pool)
                 order by a.ordinal) filter (where a.step_generation = s.generation) as attempts
          from attempt a where a.step_id = s.id) t on true
     where s.run_id = ${runId} order by s.position`;
  return runWork(ctx, tx, runRow.parse(runs[0]), z.array(stepRow).parse(steps), alsoSettle);
}

/** A run as the tables have it; `submitRun` makes one of the rows that it has just inserted. */
export function runWork(
  ctx: EngineContext,
  tx: Transaction,
  run: z.infer<typeof runRow>,
  steps: WorkStep[],
  alsoSettle: Set<string>,
): RunWork {
  return { ...run, ctx, tx, steps, now: new Date(), pending: noWrites(), alsoSettle };
}

/** Changes a step's columns when the command ends. Its state is changed by `moveStep` alone. */
export function changeStep(run: RunWork, step: WorkStep, columns: StepColumns): void {
  addChange(run.pending.steps, step, columns);
}

/** Changes an attempt's columns when the command ends, `state` as it was read: whoever changed it meanwhile makes the command fail. */
export function changeAttempt(run: RunWork, attempt: { id: string; state: AttemptState }, columns: AttemptColumns): void {
  addChange(run.pending.attempts, attempt, columns);
}

function addChange<State, Columns extends object>(
  changes: Map<string, Change<State, Columns>>,
  { id, state }: { id: string; state: State },
  columns: Columns,
): void {
  const pending = changes.get(id);
  if (pending) Object.assign(pending.columns, columns);
  else changes.set(id, { from: state, columns: { ...columns } });
}

/** Changes the run's columns when the command ends. */
export function changeRun(run: RunWork, columns: RunColumns): void {
  Object.assign(run.pending.run, columns);
}

export type EventType = 'run' | 'step' | 'attempt' | 'checkpoint' | 'evaluation' | 'note';

/** One line of the run's history, written when the command ends; its number is given under the run's lock, so there are no gaps. */
export function emit(run: RunWork, type: EventType, message: string, data: Record<string, unknown> = {}): void {
  run.seq += 1;
  run.pending.events.push({ seq: run.seq, at: new Date(), type, message, data });
}

/** Asks for a queue entry when the transaction commits. */
export function enqueue(
  run: RunWork,
  queue: 'launch' | 'tasks' | 'finalize',
  row: string,
  generation: number,
  data: Record<string, unknown>,
): void {
  run.pending.outbox.push({ queue, row, generation, data });
}

export function findStep(run: RunWork, stepId: string): WorkStep {
  const step = run.steps.find((candidate) => candidate.id === stepId);
  if (!step) throw new CairnError('not_found', `run ${run.id} has no step ${stepId}`);
  return step;
}

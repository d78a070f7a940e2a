import { type AttemptState, CairnError, type RunState, type StepKind, type StepState } from '@cairn/contract';
import { hintChannel, inTransaction, runChannel, type Transaction, wakeChannel } from '@cairn/db';
import type { FailureCounts, StepNeed } from '@cairn/domain';
import { failuresColumn, needsColumn, noReuseColumn, states } from './columns.ts';
import type { EngineContext } from './context.ts';
import { toJson } from './json.ts';
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
  slots: number;
  state: StepState;
  generation: number;
  artifact: WorkArtifact | null;
  attempts: WorkAttempt[];
  failures: FailureCounts;
  shardsTotal: number | null;
  shardsCommitted: number;
  startedAt: Date | null;
};

/** A run under its row's lock: what a command sees and changes. Commands change it in step with the tables. */
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
  /** Runs that wait for a result this command decided about; settled after the commit. */
  alsoSettle: Set<string>;
};

/** Locks a run, lets `work` change it, settles it (`advance` until nothing is left to do) and commits. */
export async function withRun<T>(ctx: EngineContext, runId: string, work: (run: RunWork) => Promise<T>): Promise<T> {
  const others = new Set<string>();
  const answer = await inTransaction(ctx.prisma, (tx) => withRunIn(ctx, tx, runId, others, work));
  others.delete(runId);
  for (const other of others) await settleRun(ctx, other);
  return answer;
}

/** {@link withRun} inside the caller's transaction; the caller settles `others` after its commit. */
export async function withRunIn<T>(
  ctx: EngineContext,
  tx: Transaction,
  runId: string,
  others: Set<string>,
  work: (run: RunWork) => Promise<T>,
): Promise<T> {
  const run = await loadRun(ctx, tx, runId, others);
  const before = run.seq;
  const value = await work(run);
  await settle(run);
  await announce(run, before);
  return value;
}

/** Advances a run that something outside it may have unblocked. */
export async function settleRun(ctx: EngineContext, runId: string): Promise<void> {
  await withRun(ctx, runId, async () => undefined);
}

async function loadRun(ctx: EngineContext, tx: Transaction, runId: string, alsoSettle: Set<string>): Promise<RunWork> {
  const locked = await tx.$queryRaw<unknown[]>`select 1 from run where id = ${runId} for update`;
  if (locked.length === 0) throw new CairnError('not_found', `there is no run ${runId}`);
  const row = await tx.run.findUniqueOrThrow({ where: { id: runId }, include: { dataset: { select: { digest: true } } } });
  const stepRows = await tx.step.findMany({
    where: { runId },
    orderBy: { position: 'asc' },
    include: { artifact: { select: { id: true, state: true, runId: true, stepName: true, digest: true, memoKey: true } } },
  });
  const attemptRows = await tx.attempt.findMany({
    where: { runId },
    orderBy: { ordinal: 'asc' },
    select: { id: true, stepId: true, state: true, ordinal: true, pool: true, stepGeneration: true },
  });
  const steps = stepRows.map(
    (step): WorkStep => ({
      id: step.id,
      name: step.name,
      kind: states.kind.parse(step.kind),
      settings: step.settings as Record<string, unknown>,
      needs: needsColumn.parse(step.needs),
      slots: step.slots,
      state: states.step.parse(step.state),
      generation: step.generation,
      artifact: step.artifact && { ...step.artifact, state: states.artifact.parse(step.artifact.state) },
      attempts: attemptRows
        .filter((attempt) => attempt.stepId === step.id && attempt.stepGeneration === step.generation)
        .map((attempt) => ({ id: attempt.id, state: states.attempt.parse(attempt.state), ordinal: attempt.ordinal, pool: attempt.pool })),
      failures: failuresColumn.parse(step.failures) as FailureCounts,
      shardsTotal: step.shardsTotal,
      shardsCommitted: step.shardsCommitted,
      startedAt: step.startedAt,
    }),
  );
  return {
    ctx,
    tx,
    id: row.id,
    name: row.name,
    projectId: row.projectId,
    owner: row.owner,
    state: states.run.parse(row.state),
    seq: row.seq,
    noReuse: noReuseColumn.parse(row.noReuse),
    dataset: row.dataset,
    steps,
    alsoSettle,
  };
}

export type EventType = 'run' | 'step' | 'attempt' | 'checkpoint' | 'evaluation' | 'note';

/** Writes one line of the run's history; its number is given under the run's lock, so there are no gaps. */
export async function emit(run: RunWork, type: EventType, message: string, data: Record<string, unknown> = {}): Promise<void> {
  run.seq += 1;
  await run.tx.event.create({ data: { runId: run.id, seq: run.seq, type, message, data: toJson(data) } });
}

/** Tells the leader and every api replica, when the transaction commits. */
async function announce(run: RunWork, seqBefore: number): Promise<void> {
  if (run.seq === seqBefore) return;
  await run.tx.run.update({ where: { id: run.id }, data: { seq: run.seq } });
  await run.tx
    .$executeRaw`select pg_notify(${runChannel}, ${JSON.stringify({ runId: run.id, seq: run.seq })}), pg_notify(${hintChannel}, ${JSON.stringify({ topic: 'runs', runId: run.id, what: 'run' })}), pg_notify(${wakeChannel}, '')`;
}

/** Asks for a queue entry when the transaction commits. */
export async function enqueue(
  tx: Transaction,
  queue: 'launch' | 'tasks' | 'finalize',
  row: string,
  generation: number,
  data: Record<string, unknown>,
): Promise<void> {
  await tx.outbox.create({ data: { queue, row, generation, data: toJson(data) } });
}

export function findStep(run: RunWork, stepId: string): WorkStep {
  const step = run.steps.find((candidate) => candidate.id === stepId);
  if (!step) throw new CairnError('not_found', `run ${run.id} has no step ${stepId}`);
  return step;
}

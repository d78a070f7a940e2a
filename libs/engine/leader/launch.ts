import {
  attemptStatesIn,
  type FindingView,
  findingView,
  type Hint,
  isLiveAttempt,
  reportedMessage,
  unheldRunStates,
  workingRunStates,
} from '@cairn/contract';
import { hintChannel, inTransaction, listOfStates } from '@cairn/db';
import { rulesOf } from '@cairn/domain';
import { newId } from '@cairn/runtime';
import { toJson } from '../columns.ts';
import type { EngineContext } from '../engine.ts';
import { emit, enqueue, makesItsResult } from '../run-work.ts';
import { requestStop } from '../settle.ts';
import { withRun } from '../with-run.ts';
import { assertLead, type Leadership } from './leadership.ts';

/**
 * Creates the attempts that `admit` decided on and requests their start. Returns how many it created: fewer when the step changed
 * meanwhile.
 */
export async function createAttempts(
  ctx: EngineContext,
  lead: Leadership,
  runId: string,
  stepId: string,
  pool: string,
  wanted: number,
  /** Slots that each attempt holds in the pool; defaults to the step's slots. */
  slots?: number,
): Promise<number> {
  return withRun(ctx, runId, async (run) => {
    await assertLead(run.tx, lead);
    const step = run.steps.find((candidate) => candidate.id === stepId);
    if (step?.artifact?.state !== 'building' || !makesItsResult(run, step) || (step.state !== 'ready' && step.state !== 'active')) return 0;
    const purpose = step.finalizing ? 'finalize' : 'work';
    // The step may have become complete, or a shard may have been reopened, since it was loaded.
    if ((pool === 'tasks') !== (step.finalizing || rulesOf(step).pool === 'tasks')) return 0;
    if (step.finalizing && step.shardsTotal === null) return 0;
    const live = step.attempts.filter((attempt) => attempt.purpose === purpose && isLiveAttempt(attempt.state)).length;
    const count = Math.max(0, Math.min(wanted, (step.finalizing ? 1 : step.maxAttempts) - live));
    // A fleet that grows does not wait for room.
    const waitedSince = step.state === 'ready' ? step.readyAt : null;
    const made = Array.from({ length: count }, (_, index) => ({ id: newId('attempt'), ordinal: step.lastOrdinal + 1 + index }));
    for (const [index, { id, ordinal }] of made.entries()) {
      run.pending.madeAttempts.push({
        id,
        stepId,
        ordinal,
        stepGeneration: step.generation,
        purpose,
        state: 'created',
        pool,
        slots: slots ?? (step.finalizing ? 1 : step.slots),
        queuedAt: index === 0 ? waitedSince : null,
      });
      step.attempts.push({ id, state: 'created', ordinal, pool, purpose });
      step.lastOrdinal = ordinal;
      enqueue(run, pool === 'tasks' ? 'tasks' : 'launch', id, 1);
      const what = step.finalizing ? ' to store the result' : '';
      emit(run, 'attempt', `${step.name}: attempt ${ordinal} goes to pool ${pool}${what}`, {
        step: step.name,
        attemptId: id,
        state: 'created',
      });
    }
    return count;
  });
}

/** What is needed to launch an attempt, or null when it no longer has to start. */
export async function beginLaunch(ctx: EngineContext, attemptId: string, generation: number) {
  // Under the run's lock, like every state change of an attempt: a concurrent command, such as a cancel, runs before or after.
  await ctx.prisma.$executeRaw`
    with locked as (select id from run where id = (select run_id from attempt where id = ${attemptId}) for update)
    update attempt a set state = 'launching' from locked
     where a.run_id = locked.id and a.id = ${attemptId} and a.generation = ${generation} and a.state = 'created'`;
  const attempt = await ctx.prisma.attempt.findUnique({
    where: { id: attemptId },
    include: { step: { select: { name: true, loaderBytes: true, run: { select: { name: true } } } } },
  });
  if (!attempt || attempt.generation !== generation || attempt.state !== 'launching') return null;
  return {
    id: attempt.id,
    runId: attempt.runId,
    generation,
    createdAt: attempt.createdAt,
    finding: attempt.finding === null ? null : findingView.parse(attempt.finding),
    pool: attempt.pool,
    slots: attempt.slots,
    name: `${attempt.step.run.name}/${attempt.step.name}/${attempt.ordinal}`,
    loaderBytes: Number(attempt.step.loaderBytes),
    avoidNodes: attempt.ordinal > 1 ? await nodesToAvoid(ctx, attempt.stepId) : [],
  };
}

/** Machines on which earlier attempts of the step ended because of the machine, newest first. */
async function nodesToAvoid(ctx: EngineContext, stepId: string): Promise<string[]> {
  const rows = await ctx.prisma.attempt.findMany({
    where: { stepId, avoidNode: { not: null } },
    orderBy: { ordinal: 'desc' },
    select: { avoidNode: true },
  });
  return [...new Set(rows.flatMap((row) => row.avoidNode ?? []))];
}

/**
 * Records why an attempt does not start. The replica that launches it, leader or not, writes this while the row still says that it must
 * start.
 */
export async function recordLaunchFailure(
  ctx: EngineContext,
  { id, runId, generation }: { id: string; runId: string; generation: number },
  finding: FindingView,
): Promise<void> {
  const hint: Hint = { topic: `run:${runId}`, runId, what: 'run' };
  const cleaned = { ...finding, message: reportedMessage.parse(finding.message) };
  await ctx.prisma.$executeRaw`
    with written as (update attempt set finding = ${JSON.stringify(cleaned)}::jsonb
                      where id = ${id} and generation = ${generation} and state = 'launching' returning 1)
    select pg_notify(${hintChannel}, ${JSON.stringify(hint)}) from written`;
}

/** Records where the executor put an attempt, or sees it now. The attempt itself reports when it runs. */
export async function recordPlace(
  ctx: EngineContext,
  attemptId: string,
  generation: number,
  place: string,
  handle?: unknown,
): Promise<void> {
  const data = { place, ...(handle !== undefined && { handle: toJson(handle) }) };
  await ctx.prisma.attempt.updateMany({ where: { id: attemptId, generation }, data });
}

/** Asks an attempt to stop so that a waiting step gets its slots. */
export async function shrink(ctx: EngineContext, lead: Leadership, attemptId: string, reason: string): Promise<void> {
  const { runId } = await ctx.prisma.attempt.findUniqueOrThrow({ where: { id: attemptId }, select: { runId: true } });
  await withRun(ctx, runId, async (run) => {
    await assertLead(run.tx, lead);
    requestStop(run, attemptId, { cause: 'preempted', reason });
  });
}

export type OutboxEntry = { queue: string; row: string; generation: number };

/**
 * Takes entries from the outbox and delivers them; they are deleted when `deliver` succeeded. A crash in between delivers them again, which
 * is harmless because the queue deduplicates by id and handlers read the row.
 *
 * @returns how many were delivered
 */
export async function drainOutbox(ctx: EngineContext, deliver: (entries: OutboxEntry[]) => Promise<void>, most: number): Promise<number> {
  // Most calls find nothing, and then one statement is enough.
  if ((await ctx.prisma.outbox.findFirst({ select: { id: true } })) === null) return 0;
  return inTransaction(ctx.prisma, async (tx) => {
    const entries = await tx.$queryRaw<OutboxEntry[]>`
      delete from outbox where id in (select id from outbox order by id limit ${most} for update skip locked)
      returning queue, "row", generation`;
    if (entries.length > 0) await deliver(entries);
    return entries.length;
  });
}

/**
 * Attempts that should be in a queue: created a while ago, never started, with no outbox entry left. An emptied queue is refilled from
 * these. An attempt that its executor has started but that still waits, as a pod does, is watched and not started again.
 */
export async function attemptsToQueue(ctx: EngineContext, olderThanMs: number): Promise<OutboxEntry[]> {
  const rows = await ctx.prisma.$queryRaw<{ id: string; generation: number; pool: string }[]>`
    select a.id, a.generation, a.pool from attempt a
    where a.state in ${listOfStates(attemptStatesIn('starting'))} and a.instance is null and a.handle is null and a.created_at < now() - make_interval(secs => ${olderThanMs / 1000})
      and not exists (select 1 from outbox o where o."row" = a.id)`;
  return rows.map(({ id, generation, pool }) => ({ queue: pool === 'tasks' ? 'tasks' : 'launch', row: id, generation }));
}

/**
 * Live runs that a crashed command left unsettled: none of their steps is ready or active, or a fleet is complete and its finalizing was
 * not requested.
 */
export async function unsettledRuns(ctx: EngineContext): Promise<string[]> {
  const rows = await ctx.prisma.$queryRaw<{ id: string }[]>`
    select r.id from run r where r.state in ${listOfStates(unheldRunStates)}
      and not exists (select 1 from step s where s.run_id = r.id and s.state = 'active')
      and not exists (select 1 from step s join artifact a on a.id = s.artifact_id where s.run_id = r.id and s.state = 'ready' and a.state = 'building')
    union
    select s.run_id from step s join run r on r.id = s.run_id and r.state in ${listOfStates(workingRunStates)}
      join artifact a on a.id = s.artifact_id and a.state = 'building'
     where s.state = 'active' and not s.finalizing and ((s.shards_total is not null and s.shards_committed >= s.shards_total)
       or (s.shards_total is null and exists (select 1 from attempt t where t.step_id = s.id and t.step_generation = s.generation and t.state = 'succeeded')))`;
  return rows.map((row) => row.id);
}

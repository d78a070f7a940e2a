import { attemptStatesIn } from '@cairn/contract';
import { inTransaction, listOfStates } from '@cairn/db';
import type { EngineContext } from '../context.ts';

export type OutboxEntry = { queue: string; row: string; generation: number; data: unknown };

/**
 * Takes entries out of the outbox and hands them on; they are deleted when `deliver` succeeded. A crash in between delivers
 * them again, which a queue that knows its ids and handlers that read the row make harmless.
 *
 * @returns how many were delivered
 */
export async function drainOutbox(ctx: EngineContext, deliver: (entries: OutboxEntry[]) => Promise<void>, most: number): Promise<number> {
  // Most looks find nothing, and then one statement is enough.
  if ((await ctx.prisma.outbox.findFirst({ select: { id: true } })) === null) return 0;
  return inTransaction(ctx.prisma, async (tx) => {
    const entries = await tx.$queryRaw<OutboxEntry[]>`
      delete from outbox where id in (select id from outbox order by id limit ${most} for update skip locked)
      returning queue, "row", generation, data`;
    if (entries.length > 0) await deliver(entries);
    return entries.length;
  });
}

/** An attempt's start, as its queue takes it. */
export type StartEntry = { queue: 'launch' | 'tasks'; data: { attemptId: string; generation: number } };

/**
 * Attempts that should be in a queue: made a while ago, never started, with no outbox entry left. An emptied queue is refilled
 * from these. What its executor has started and waits there, as a pod does, is watched and not started again.
 */
export async function attemptsToQueue(ctx: EngineContext, olderThanMs: number): Promise<StartEntry[]> {
  const rows = await ctx.prisma.$queryRaw<{ id: string; generation: number; pool: string }[]>`
    select a.id, a.generation, a.pool from attempt a
    where a.state in ${listOfStates(attemptStatesIn('starting'))} and a.instance is null and a.handle is null and a.created_at < now() - make_interval(secs => ${olderThanMs / 1000})
      and not exists (select 1 from outbox o where o."row" = a.id)`;
  return rows.map((row) => ({
    queue: row.pool === 'tasks' ? 'tasks' : 'launch',
    data: { attemptId: row.id, generation: row.generation },
  }));
}

/** Live runs in which nothing is ready or active: a command that died before its settling left them so. */
export async function runsAtRest(ctx: EngineContext): Promise<string[]> {
  const rows = await ctx.prisma.$queryRaw<{ id: string }[]>`
    select r.id from run r where r.state in ('queued', 'running', 'cancelling')
      and not exists (select 1 from step s where s.run_id = r.id and s.state = 'active')
      and not exists (select 1 from step s join artifact a on a.id = s.artifact_id where s.run_id = r.id and s.state = 'ready' and a.state = 'building')`;
  return rows.map((row) => row.id);
}

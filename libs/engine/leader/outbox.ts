import { attemptStatesIn } from '@cairn/contract';
import { inTransaction, listOfStates } from '@cairn/db';
import type { EngineContext } from '../context.ts';

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
    select r.id from run r where r.state in ('queued', 'running', 'cancelling')
      and not exists (select 1 from step s where s.run_id = r.id and s.state = 'active')
      and not exists (select 1 from step s join artifact a on a.id = s.artifact_id where s.run_id = r.id and s.state = 'ready' and a.state = 'building')
    union
    select s.run_id from step s join run r on r.id = s.run_id and r.state in ('queued', 'running')
      join artifact a on a.id = s.artifact_id and a.state = 'building'
     where s.state = 'active' and not s.finalizing and ((s.shards_total is not null and s.shards_committed >= s.shards_total)
       or (s.shards_total is null and exists (select 1 from attempt t where t.step_id = s.id and t.step_generation = s.generation and t.state = 'succeeded')))`;
  return rows.map((row) => row.id);
}

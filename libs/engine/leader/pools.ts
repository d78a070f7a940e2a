import type { PoolRoom } from '@cairn/contract';
import { inTransaction } from '@cairn/db';
import type { EngineContext } from '../context.ts';
import { type Leadership, leaderGuard } from './leadership.ts';

export type PoolRecord = {
  name: string;
  executor: string;
  slots: number;
  /** Slots that each of its attempts holds regardless of the step; null: as many as the step asks for. */
  attemptSlots: number | null;
};

/** Records the pools for views and for waiting reasons. */
export async function recordPools(ctx: EngineContext, pools: readonly PoolRecord[]): Promise<void> {
  await inTransaction(ctx.prisma, async (tx) => {
    await tx.pool.deleteMany({ where: { name: { notIn: pools.map((pool) => pool.name) } } });
    for (const [position, pool] of pools.entries()) {
      await tx.pool.upsert({
        where: { name: pool.name },
        create: { ...pool, position },
        update: { ...pool, position, updatedAt: new Date() },
      });
    }
  });
}

/** Records what a pool's machines can hold, for programs without a connection to them; called only when it changed. */
export async function recordRoom(ctx: EngineContext, lead: Leadership, pool: string, room: PoolRoom | null): Promise<void> {
  const value = room === null ? null : JSON.stringify(room);
  await ctx.prisma.$executeRaw`update pool set room = ${value}::jsonb, updated_at = now() where name = ${pool} and ${leaderGuard(lead)}`;
}

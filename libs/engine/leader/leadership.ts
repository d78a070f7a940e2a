import { CairnError, type PoolRoom } from '@cairn/contract';
import { inTransaction, Prisma, type PrismaClient, type Transaction } from '@cairn/db';
import type { EngineContext } from '../engine.ts';

/** Proof of leadership that every write of the leader carries in its guard. */
export type Leadership = { holder: string; epoch: number };

/**
 * Acquires or renews the lead, by the database's clock. The holder renews it by calling this again in time; once it has expired any
 * controller can acquire it with the next epoch, and writes of the old holder fail from then on.
 *
 * @returns the leadership, or null while another holds it
 */
export async function acquireLead(prisma: PrismaClient, holder: string, ttlMs: number): Promise<Leadership | null> {
  const rows = await prisma.$queryRaw<{ epoch: number }[]>`
    update leadership set
      epoch = case when holder = ${holder} and expires_at > now() then epoch else epoch + 1 end,
      holder = ${holder},
      expires_at = now() + make_interval(secs => ${ttlMs / 1000})
    where id = 1 and (holder = ${holder} or expires_at <= now())
    returning epoch`;
  const row = rows[0];
  return row ? { holder, epoch: row.epoch } : null;
}

/** Releases the lead, so that a spare can acquire it at once. */
export async function releaseLead(prisma: PrismaClient, lead: Leadership): Promise<void> {
  // Truncated to the column's milliseconds, which would otherwise round up to a moment in the future.
  await prisma.$executeRaw`update leadership set expires_at = date_trunc('milliseconds', now()) where id = 1 and holder = ${lead.holder} and epoch = ${lead.epoch}`;
}

/**
 * Guards a transaction of the leader: locks the row against a change of leader until the commit.
 *
 * @throws CairnError `superseded` when the lead was lost, so that a leader that slept past its expiry changes nothing
 */
export async function assertLead(tx: Transaction, lead: Leadership): Promise<void> {
  const rows = await tx.$queryRaw<unknown[]>`
    select 1 from leadership where id = 1 and holder = ${lead.holder} and epoch = ${lead.epoch} and expires_at > now() for share`;
  if (rows.length === 0) throw new CairnError('superseded', `${lead.holder} is no longer the leader (epoch ${lead.epoch})`);
}

/** The same guard for a single statement, which changes nothing once the lead is lost. */
export const leaderGuard = ({ holder, epoch }: Leadership): Prisma.Sql =>
  Prisma.sql`exists (select 1 from leadership where id = 1 and holder = ${holder} and epoch = ${epoch} and expires_at > now())`;

export type PoolRecord = {
  name: string;
  executor: string;
  slots: number;
  /** Slots that each of its attempts holds regardless of the step; null: as many as the step asks for. */
  attemptSlots: number | null;
  /** Price of an hour of one slot, in the operator's currency; null: none is set. */
  gpuHourPrice?: number | null;
};

/** Records the pools for views and for waiting reasons. */
export async function recordPools(ctx: EngineContext, pools: readonly PoolRecord[]): Promise<void> {
  await inTransaction(ctx.prisma, async (tx) => {
    await tx.pool.deleteMany({ where: { name: { notIn: pools.map((pool) => pool.name) } } });
    for (const [position, { gpuHourPrice = null, ...pool }] of pools.entries()) {
      await tx.pool.upsert({
        where: { name: pool.name },
        create: { ...pool, gpuHourPrice, position },
        update: { ...pool, gpuHourPrice, position, updatedAt: new Date() },
      });
    }
  });
}

/** Records what a pool's machines can hold, for programs without a connection to them; called only when it changed. */
export async function recordRoom(ctx: EngineContext, lead: Leadership, pool: string, room: PoolRoom | null): Promise<void> {
  const value = room === null ? null : JSON.stringify(room);
  await ctx.prisma.$executeRaw`update pool set room = ${value}::jsonb, updated_at = now() where name = ${pool} and ${leaderGuard(lead)}`;
}

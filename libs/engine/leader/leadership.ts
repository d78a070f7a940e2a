import { CairnError } from '@cairn/contract';
import { Prisma, type PrismaClient, type Transaction } from '@cairn/db';

/** Proof of leadership that every write of the leader carries in its guard. */
export type Leadership = { holder: string; epoch: number };

/**
 * Takes or keeps the lead, by the database's clock. Whoever holds the row keeps it by calling this again in time; when it
 * has expired anybody takes it with the next epoch, and the old holder's writes are refused from then on.
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

/** Gives the lead up, so that a spare takes it at once. */
export async function releaseLead(prisma: PrismaClient, lead: Leadership): Promise<void> {
  // Cut to the column's milliseconds, which would round it up to a moment that has not come.
  await prisma.$executeRaw`update leadership set expires_at = date_trunc('milliseconds', now()) where id = 1 and holder = ${lead.holder} and epoch = ${lead.epoch}`;
}

/**
 * Guards a leader's transaction: holds the row against a change of leader until the commit.
 *
 * @throws CairnError `superseded` when the lead was lost: a leader that slept past its expiry changes nothing
 */
export async function assertLead(tx: Transaction, lead: Leadership): Promise<void> {
  const rows = await tx.$queryRaw<unknown[]>`
    select 1 from leadership where id = 1 and holder = ${lead.holder} and epoch = ${lead.epoch} and expires_at > now() for share`;
  if (rows.length === 0) throw new CairnError('superseded', `${lead.holder} no longer leads (epoch ${lead.epoch})`);
}

/** The same guard for a write of one statement, which changes nothing once the lead is lost. */
export const leaderGuard = ({ holder, epoch }: Leadership): Prisma.Sql =>
  Prisma.sql`exists (select 1 from leadership where id = 1 and holder = ${holder} and epoch = ${epoch} and expires_at > now())`;

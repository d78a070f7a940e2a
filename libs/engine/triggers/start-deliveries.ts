import { CairnError, deliveryOutcome, firstOf, type HookAnswer, isCairnError, submitRequest } from '@cairn/contract';
import { inTransaction, Prisma, type Transaction } from '@cairn/db';
import { type DeliveredCommit, newerDelivery } from '@cairn/domain';
import { backoff } from '@cairn/runtime';
import { z } from 'zod';
import { audit } from '../audit.ts';
import type { Actor, EngineContext } from '../engine.ts';
import { submitRun } from '../submit.ts';

/** Between two tries to start a delivery, such as over a quota. */
const retryMs = { baseMs: 15_000, maxMs: 10 * 60_000 };
/** About a day. */
const maxTries = 200;

type Change = Prisma.HookDeliveryUncheckedUpdateManyInput;

/**
 * Starts the run of an accepted delivery. Any number of programs may do so at once, or again after one of them died: the run has the
 * delivery's key. A submission that is refused for now, as over a quota, is tried again by the leader.
 */
export async function startDelivery(ctx: EngineContext, id: string): Promise<HookAnswer> {
  const row = await ctx.prisma.hookDelivery.findUniqueOrThrow({ where: { id }, include: { trigger: true } });
  if (row.outcome !== 'accepted') return answerOf(row);
  const { trigger, address } = row;
  const actor: Actor = { name: trigger.owner, projectId: trigger.projectId, tokenId: null, address };
  const origin = { kind: 'trigger' as const, trigger: trigger.name, delivery: id };
  const refuse = (tx: Transaction) => refuseOlder(tx, row);
  const change = await submitRun(ctx, submitRequest.parse(row.request), actor, `trigger:${trigger.id}:${id}`, origin, refuse).then(
    ({ runId }): Change => ({ outcome: 'started', runId, request: Prisma.DbNull, notBefore: null }),
    (error: unknown) => (error instanceof OlderDelivery ? older(error, row) : postponed(error, row)),
  );
  await ctx.prisma.hookDelivery.updateMany({ where: { id, outcome: 'accepted' }, data: change });
  return answerOf(await ctx.prisma.hookDelivery.findUniqueOrThrow({ where: { id } }));
}

/** A newer delivery about the same branch, tag or pull request has started a run, or is about to. */
class OlderDelivery extends Error {
  readonly newer: DeliveredCommit;

  constructor(newer: DeliveredCommit) {
    super(`older than ${newer.id}`);
    this.newer = newer;
  }
}

const older = ({ newer }: OlderDelivery, { reason }: { reason: string }): Change => ({
  outcome: 'ignored',
  reason: firstOf(
    `${reason}; started nothing, because the newer commit ${newer.commit.slice(0, 12)} was delivered already (${newer.id})`,
    1_000,
  ),
  request: Prisma.DbNull,
  notBefore: null,
});

/** Deliveries of a week about one branch or pull request; older ones count no more. */
const maxCompared = 1_000;
const deliveredRow = z.object({
  id: z.string(),
  commit: z.string(),
  happenedAt: z.date().nullable(),
  before: z.string().nullable(),
  starts: z.boolean(),
});

/**
 * Refuses to start what a newer delivery has replaced. Runs in the transaction that submits the run: of two that are started at once, the one that commits
 * later sees the other, so a newer commit is never replaced by an older one.
 *
 * @throws OlderDelivery
 */
async function refuseOlder(tx: Transaction, { id, triggerId, history }: { id: string; triggerId: string; history: string | null }) {
  if (history === null) return;
  await tx.$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`history ${triggerId} ${history}`}, 0))`;
  const rows = await tx.$queryRaw<unknown[]>`
    select id, source->>'commit' as commit, happened_at as "happenedAt", commit_before as before, outcome in ('accepted', 'started') as starts
      from hook_delivery where trigger_id = ${triggerId} and history = ${history} and source is not null order by id desc limit ${maxCompared}`;
  const delivered = z.array(deliveredRow).parse(rows).reverse();
  const own = delivered.find((one) => one.id === id);
  const newer = own === undefined ? null : newerDelivery(own, delivered);
  if (newer !== null) throw new OlderDelivery(newer);
}

/** What a refused submission means for its delivery. Errors that are not about the submission are the caller's. */
function postponed(error: unknown, { tries }: { tries: number }): Change {
  if (!isCairnError(error) || error.row.fix === 'cairn') throw error;
  const reason = firstOf(`the run could not be started: ${error.message}`, 1_000);
  if (!error.row.retry || tries >= maxTries) return { outcome: 'failed', reason, notBefore: null };
  return { reason, tries: tries + 1, notBefore: new Date(Date.now() + backoff({ attempt: tries, ...retryMs })) };
}

const answerOf = ({ id, outcome, reason, runId }: { id: string; outcome: string; reason: string; runId: string | null }): HookAnswer => ({
  delivery: id,
  outcome: deliveryOutcome.parse(outcome),
  reason,
  runId,
});

/**
 * Lets a held delivery start its run, once.
 *
 * @throws CairnError `not_found`; `wrong_state` when it is not held, or no longer
 */
export async function releaseDelivery(ctx: EngineContext, trigger: string, id: string, actor: Actor): Promise<HookAnswer> {
  await inTransaction(ctx.prisma, async (tx) => {
    const [row] = await tx.$queryRaw<{ outcome: string; reason: string }[]>`
      select d.outcome, d.reason from hook_delivery d join trigger t on t.id = d.trigger_id
      where d.id = ${id} and t.name = ${trigger} and t.project_id = ${actor.projectId} for update of d`;
    if (row === undefined) throw new CairnError('not_found', `Trigger ${trigger} has no delivery ${id}; deliveries are kept for a week`);
    if (row.outcome !== 'held') throw new CairnError('wrong_state', `Delivery ${id} is not held: it was ${row.outcome} (${row.reason})`);
    const data = { outcome: 'accepted', reason: `released by ${actor.name}`, releasedBy: actor.name, notBefore: new Date() };
    await tx.hookDelivery.updateMany({ where: { id }, data });
    await audit(tx, actor, {
      action: 'delivery.release',
      target: id,
      before: { outcome: 'held' },
      after: { outcome: 'accepted' },
      details: { trigger },
    });
  });
  return startDelivery(ctx, id);
}

const startedTogether = 50;

/** Starts the accepted deliveries whose program died before it did, and those that were refused for a while. */
export async function startAcceptedDeliveries(ctx: EngineContext, signal: AbortSignal): Promise<void> {
  const due = await ctx.prisma.hookDelivery.findMany({
    where: { outcome: 'accepted', notBefore: { lte: new Date() } },
    orderBy: { notBefore: 'asc' },
    select: { id: true },
    take: startedTogether,
  });
  for (const { id } of due) {
    if (signal.aborted) return;
    try {
      await startDelivery(ctx, id);
    } catch (error) {
      // Later, so that it does not keep the others from being started.
      ctx.log.error({ err: error, delivery: id }, 'the run of a delivery could not be started; trying again');
      await ctx.prisma.$executeRaw`
        update hook_delivery set tries = tries + 1, not_before = now() + interval '1 minute',
               outcome = case when tries >= ${maxTries} then 'failed' else outcome end
         where id = ${id} and outcome = 'accepted'`;
    }
  }
}

const keptDays = 7;
/** The newest of each trigger: anyone who knows the address can send wrong ones. */
const newestRefusals = 1_000;
const removedTogether = 5_000;

/** Removes old deliveries. A repeat is recognized for as long as its first delivery is kept. */
export async function removeOldDeliveries({ prisma }: EngineContext, { keptRefusals = newestRefusals } = {}): Promise<void> {
  await prisma.$executeRaw`
    delete from hook_delivery where id in (
      select id from hook_delivery where received_at < now() - make_interval(days => ${keptDays}) and outcome <> 'accepted' order by received_at limit ${removedTogether})`;
  await prisma.$executeRaw`
    delete from hook_delivery where id in (
      select id from (
        select id, row_number() over (partition by trigger_id order by id desc) as place from hook_delivery where outcome = 'refused'
      ) refused where place > ${keptRefusals} limit ${removedTogether})`;
}

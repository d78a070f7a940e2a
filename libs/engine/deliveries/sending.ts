import {
  CairnError,
  cleanText,
  firstOf,
  type OutgoingDeliveryAnswer,
  outgoingDeliveryAnswer,
  type WebhookEvent,
  type WebhookMessage,
  webhookMessage,
  webhookVersion,
} from '@cairn/contract';
import { Prisma, type PrismaClient, type Transaction } from '@cairn/db';
import { z } from 'zod';
import { toJson } from '../columns.ts';

// A delivery is sent by the controller that claims it. `attempts` fences: each claim raises it, and only the newest claim records its end.

/** A sender must be done within this time; afterwards another one may repeat the try. */
export const leaseMs = 60_000;
/** Deliveries of one target that are started in one round, so that a receiver that hangs leaves senders for the others. */
const perTarget = 8;

export type DueDelivery = { deliveryId: string; generation: number };

/** The receiver of the delivery `d` has not asked for a pause. */
const mayCall = (now: Date): Prisma.Sql => Prisma.sql`
  not exists (select 1 from webhook h where h.id = d.target and h.paused_until > ${now})
  and not exists (select 1 from code_host c where c.id = d.target and c.paused_until > ${now})`;

/** Deliveries to try now: of each order key only the oldest. An emptied queue is refilled from these. */
export async function dueDeliveries(prisma: PrismaClient, now: Date, most: number): Promise<DueDelivery[]> {
  return prisma.$queryRaw<DueDelivery[]>`
    select id::text as "deliveryId", attempts as generation from (
      select d.id, d.attempts, d.not_before, row_number() over (partition by d.target order by d.not_before, d.id) as nth
        from delivery d
       where d.state = 'pending' and d.not_before <= ${now} and ${mayCall(now)}
         and not exists (select 1 from delivery e where e.order_key = d.order_key and e.state = 'pending' and e.id < d.id)) due
     where nth <= ${perTarget} order by not_before, id limit ${most}`;
}

const claimedRow = z.object({
  id: z.string(),
  projectId: z.string(),
  kind: z.enum(['webhook', 'report']),
  target: z.string(),
  messageId: z.string(),
  event: z.string(),
  subject: z.string(),
  body: z.record(z.string(), z.unknown()),
  remote: z.record(z.string(), z.unknown()).nullable(),
  version: z.number().int(),
  attempts: z.number().int(),
  failures: z.number().int(),
  giveUpAt: z.date(),
});
export type ClaimedDelivery = z.infer<typeof claimedRow>;

/** Claims a delivery for {@link leaseMs}. Null when it is not due, an older one of its order key is pending, or another sender has it. */
export async function claimDelivery(prisma: PrismaClient, due: DueDelivery, now: Date): Promise<ClaimedDelivery | null> {
  const rows = await prisma.$queryRaw<unknown[]>`
    update delivery d set attempts = d.attempts + 1, not_before = ${new Date(now.getTime() + leaseMs)}
     where d.id = ${BigInt(due.deliveryId)} and d.attempts = ${due.generation} and d.state = 'pending' and d.not_before <= ${now}
       and ${mayCall(now)} and not exists (select 1 from delivery e where e.order_key = d.order_key and e.state = 'pending' and e.id < d.id)
    returning d.id::text, d.project_id as "projectId", d.kind, d.target, d.message_id::text as "messageId", d.event, d.subject, d.body,
      d.remote, d.version, d.attempts, d.failures, d.give_up_at as "giveUpAt"`;
  return rows.length === 0 ? null : claimedRow.parse(rows[0]);
}

/** True while the claim is the newest and its lease has time for another request: checked before something is made that must not be twice. */
export async function isClaimed(prisma: PrismaClient, { id, attempts }: ClaimedDelivery, now: Date): Promise<boolean> {
  const until = new Date(now.getTime() + leaseMs / 3);
  return (await prisma.delivery.count({ where: { id: BigInt(id), attempts, state: 'pending', notBefore: { gt: until } } })) > 0;
}

export type DeliveryOutcome =
  /** `remote` replaces what is remembered; a newer state of a report is sent no sooner than `nextAt`. */
  | { end: 'delivered'; answer: OutgoingDeliveryAnswer; remote?: Record<string, unknown> | undefined; nextAt: Date }
  | { end: 'failed'; answer: OutgoingDeliveryAnswer }
  /** `target`: the receiver asked for a pause, so everything for it waits until then. */
  | { end: 'retry'; answer: OutgoingDeliveryAnswer; at: Date; pausesTarget: boolean };

/** Characters of a recorded answer. */
const maxMessage = 1_000;

/** Records the outcome of a try. False when the delivery was claimed again or removed meanwhile: then nothing is recorded. */
export async function recordDelivery(
  prisma: PrismaClient,
  { id, attempts, version, target }: ClaimedDelivery,
  outcome: DeliveryOutcome,
  now: Date,
): Promise<boolean> {
  // A receiver's words may be in it: what cannot be stored would keep the delivery pending for ever.
  const message = firstOf(cleanText(outcome.answer.message), maxMessage);
  const kept = outgoingDeliveryAnswer.parse({ ...outcome.answer, message });
  const answer = JSON.stringify(kept);
  const own = { id: BigInt(id), attempts, state: 'pending' };
  switch (outcome.end) {
    case 'delivered': {
      const remote = outcome.remote === undefined ? null : JSON.stringify(outcome.remote);
      const count = await prisma.$executeRaw`
        update delivery set state = case when version = ${version} then 'delivered' else 'pending' end, not_before = ${outcome.nextAt},
          ended_at = ${now}, failures = 0, answer = ${answer}::jsonb, remote = coalesce(${remote}::jsonb, remote)
         where id = ${own.id} and attempts = ${attempts} and state = 'pending'`;
      return count > 0;
    }
    case 'failed': {
      // What was written meanwhile is newer than what was refused.
      const count = await prisma.$executeRaw`
        update delivery set state = case when version = ${version} then 'failed' else 'pending' end, not_before = ${now},
          ended_at = ${now}, failures = failures + 1, answer = ${answer}::jsonb
         where id = ${own.id} and attempts = ${attempts} and state = 'pending'`;
      return count > 0;
    }
    case 'retry': {
      const data = { notBefore: outcome.at, answer: toJson(kept), failures: { increment: 1 } };
      const { count } = await prisma.delivery.updateMany({ where: own, data });
      if (count > 0 && outcome.pausesTarget) {
        const pause = { where: { id: target }, data: { pausedUntil: outcome.at } };
        await prisma.webhook.updateMany(pause);
        await prisma.codeHost.updateMany(pause);
      }
      return count > 0;
    }
  }
}

/** Most deliveries of one target that wait, and that are kept as its log. */
const most = { pending: 10_000, ended: 10_000 };
const keptDays = 30;

/** Bounds the table: removes what ended long ago, and gives up the oldest of a target that has too many. */
export async function trimDeliveries(prisma: PrismaClient, now: Date): Promise<void> {
  const before = new Date(now.getTime() - keptDays * 86_400_000);
  await prisma.$executeRaw`delete from delivery where state <> 'pending' and ended_at < ${before}`;
  await prisma.$executeRaw`
    delete from delivery where id in (
      select id from (select id, row_number() over (partition by target order by id desc) as nth from delivery where state <> 'pending') d
       where nth > ${most.ended})`;
  const answer = { at: now.toISOString(), status: null, message: `given up, because more than ${most.pending} newer ones wait` };
  await prisma.$executeRaw`
    update delivery set state = 'failed', ended_at = ${now}, answer = ${JSON.stringify(answer)}::jsonb where state = 'pending' and id in (
      select id from (select id, row_number() over (partition by target order by id desc) as nth from delivery where state = 'pending') d
       where nth > ${most.pending})`;
}

const mostTargets = 100;

/** @throws CairnError `quota_exceeded` when a project has as many as it may */
export function requireRoom(what: 'webhooks' | 'code hosts', count: number): void {
  if (count < mostTargets) return;
  throw new CairnError('quota_exceeded', `The project has ${count} ${what}, the maximum`, {
    details: { most: mostTargets, remedy: 'Remove one that is not needed.' },
  });
}

/** An address without its query, which may have a secret: for the audit log. */
export function shownUrl(text: string): string {
  const url = new URL(text);
  return url.search === '' ? text : `${url.origin}${url.pathname}?...`;
}

/** Something that happened, for the webhooks that asked for such events. Messages about one subject arrive in their order. */
export type Announcement = { event: WebhookEvent; subject: string; body: WebhookMessage };

/** `data` may have more than the event has. */
export function announcementOf(event: WebhookEvent, { subject, at, data }: { subject: string; at: Date; data: object }): Announcement {
  return { event, subject, body: webhookMessage.parse({ type: event, version: webhookVersion, timestamp: at.toISOString(), data }) };
}

/** How long a webhook's message is tried. */
export const messageDays = 3;

/** Writes a delivery for each webhook that asked for one of the messages `m`, a row source with the columns of {@link Announcement}. */
export const messageInsertion = (projectId: string, m: string): string => `
  insert into delivery (project_id, kind, target, order_key, event, subject, body, give_up_at)
  select h.project_id, 'webhook', h.id, h.id || ' ' || m.subject, m.event, m.subject, m.body, now() + interval '${messageDays} days'
    from ${m} join webhook h on h.project_id = ${projectId} and m.event = any(h.events)`;

/** Announces what a command changed outside of a run, in its transaction. */
export async function announce(tx: Transaction, projectId: string, announcement: Announcement): Promise<void> {
  const { event, subject, body } = announcement;
  await tx.$executeRaw`${Prisma.raw(beforeProject)}${projectId}${Prisma.raw(beforeRow)}${JSON.stringify([{ event, subject, body }])}${Prisma.raw(afterRow)}`;
}

const [beforeProject, beforeRow, afterRow] = [
  'with given as (select ',
  '::text as project, ',
  `::jsonb as rows) ${messageInsertion('m.project', '(select r.*, g.project from given g, jsonb_to_recordset(g.rows) as r(event text, subject text, body jsonb)) m')}`,
];

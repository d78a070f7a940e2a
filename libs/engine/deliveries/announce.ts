import { type WebhookEvent, type WebhookMessage, webhookMessage, webhookVersion } from '@cairn/contract';
import { Prisma, type Transaction } from '@cairn/db';

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

import {
  CairnError,
  type CodeHostView,
  codeHostProvider,
  type OutgoingDeliveryState,
  type OutgoingDeliveryView,
  outgoingDeliveryAnswer,
  outgoingDeliveryState,
  type WebhookView,
} from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Delivery } from '../generated/client.ts';
import { Prisma } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, readColumn, readNullable, readRows } from './columns.ts';
import { decodeCursor, type Page, type PageArgs, pageOf } from './page-cursor.ts';

/** Webhooks by name. */
export async function listWebhooks(db: Transaction, { projectId }: { projectId: string }): Promise<WebhookView[]> {
  const rows = await db.webhook.findMany({ where: { projectId }, orderBy: { name: 'asc' } });
  const ids = rows.map(({ id }) => id);
  const figures = await figuresOf(db, ids);
  const replaced = await db.sealedSecret.findMany({
    where: { ownerId: { in: ids }, expiresAt: { gt: new Date() } },
    select: { ownerId: true, expiresAt: true },
  });
  return rows.map(({ id, name, url, events, createdBy, createdAt }) => ({
    ...{ id, name, url, events, createdBy, createdAt: isoTime(createdAt) },
    previousSecretUntil: isoTimeOrNull(replaced.find(({ ownerId }) => ownerId === id)?.expiresAt ?? null),
    ...figures(id),
  }));
}

/** @throws CairnError `not_found` */
export async function getWebhook(db: Transaction, { projectId, name }: { projectId: string; name: string }): Promise<WebhookView> {
  const found = (await listWebhooks(db, { projectId })).find((webhook) => webhook.name === name);
  if (found !== undefined) return found;
  throw new CairnError('not_found', `Webhook ${name} not found; list them with \`cairn webhook list\` or GET /v1/webhooks`);
}

/** Code hosts by name, which is also the order in which they are asked for a repository. */
export async function listCodeHosts(db: Transaction, { projectId }: { projectId: string }): Promise<CodeHostView[]> {
  const rows = await db.codeHost.findMany({ where: { projectId }, orderBy: { name: 'asc' } });
  const figures = await figuresOf(
    db,
    rows.map(({ id }) => id),
  );
  return rows.map(({ id, name, provider, url, repositories, appId, createdBy, createdAt }) => ({
    ...{ id, name, url, repositories, appId, createdBy, createdAt: isoTime(createdAt) },
    provider: readColumn(codeHostProvider, provider, `code host ${id} provider`),
    ...figures(id),
  }));
}

/** @throws CairnError `not_found` */
export async function getCodeHost(db: Transaction, { projectId, name }: { projectId: string; name: string }): Promise<CodeHostView> {
  const found = (await listCodeHosts(db, { projectId })).find((host) => host.name === name);
  if (found !== undefined) return found;
  throw new CairnError('not_found', `Code host ${name} not found; list them with \`cairn codehost list\` or GET /v1/code-hosts`);
}

export type DeliveryListArgs = PageArgs & { target: string; state?: OutgoingDeliveryState | undefined };

/** The deliveries of a webhook or code host, newest first. */
export async function listOutgoingDeliveries(
  db: Transaction,
  { target, state, limit, cursor }: DeliveryListArgs,
): Promise<Page<OutgoingDeliveryView>> {
  const after = decodeCursor(cursor, z.tuple([z.string().regex(/^\d{1,18}$/)]));
  const rows = await db.delivery.findMany({
    where: { target, ...(state === undefined ? {} : { state }), ...(after === null ? {} : { id: { lt: BigInt(after[0]) } }) },
    orderBy: { id: 'desc' },
    take: limit + 1,
  });
  return pageOf(rows, limit, ({ id }) => [String(id)], deliveryViewOf);
}

/** @throws CairnError `not_found` */
export async function getOutgoingDelivery(db: Transaction, { target, id }: { target: string; id: string }): Promise<OutgoingDeliveryView> {
  const row = await db.delivery.findFirst({ where: { id: BigInt(id), target } });
  if (row === null) throw new CairnError('not_found', `Delivery ${id} not found; it may be too old`);
  return deliveryViewOf(row);
}

function deliveryViewOf(row: Delivery): OutgoingDeliveryView {
  const state = readColumn(outgoingDeliveryState, row.state, `delivery ${row.id} state`);
  const isPending = state === 'pending';
  return {
    id: String(row.id),
    ...{ messageId: row.messageId, event: row.event, subject: row.subject, state, attempts: row.attempts },
    nextTryAt: isPending ? isoTime(row.notBefore) : null,
    triesUntil: isPending ? isoTime(row.giveUpAt) : null,
    answer: readNullable(outgoingDeliveryAnswer, row.answer, `delivery ${row.id} answer`),
    createdAt: isoTime(row.createdAt),
    endedAt: isPending ? null : isoTimeOrNull(row.endedAt),
  };
}

const countsRow = z.object({ target: z.string(), pending: z.number().int(), failed: z.number().int(), newest: z.bigint() });

/** What became of the deliveries of targets. */
async function figuresOf(db: Transaction, targets: string[]) {
  if (targets.length === 0) return () => ({ pending: 0, failed: 0, newest: null });
  const counts = readRows(
    countsRow,
    await db.$queryRaw`
      select target, count(*) filter (where state = 'pending')::int as pending, count(*) filter (where state = 'failed')::int as failed,
             max(id) as newest from delivery where target in (${Prisma.join(targets)}) group by target`,
  );
  const rows = await db.delivery.findMany({ where: { id: { in: counts.map(({ newest }) => newest) } } });
  return (target: string) => {
    const { pending = 0, failed = 0, newest } = counts.find((count) => count.target === target) ?? {};
    const row = rows.find(({ id }) => id === newest);
    return { pending, failed, newest: row === undefined ? null : deliveryViewOf(row) };
  };
}

import {
  type DeliveryOutcome,
  type DeliveryView,
  deliveryOutcome,
  hookProvider,
  onNewer,
  runSource,
  type TriggerView,
  triggeredRun,
  triggerFilter,
} from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { HookDelivery, Trigger } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, readColumn, readNullable } from './columns.ts';
import { decodeCursor, keyText, type Page, type PageArgs, pageOf } from './page-cursor.ts';

/** Triggers by name. */
export async function listTriggers(db: Transaction, { projectId, ...page }: PageArgs & { projectId: string }): Promise<Page<TriggerView>> {
  const after = decodeCursor(page.cursor, z.tuple([keyText]));
  const rows = await db.trigger.findMany({
    where: { projectId, ...(after === null ? {} : { name: { gt: after[0] } }) },
    orderBy: { name: 'asc' },
    take: page.limit + 1,
    include: { deliveries: newestDelivery },
  });
  return pageOf(rows, page.limit, (row) => [row.name], triggerViewOf);
}

/** The trigger of a name; null when there is none. */
export async function readTrigger(db: Transaction, { projectId, name }: { projectId: string; name: string }): Promise<TriggerView | null> {
  const row = await db.trigger.findFirst({ where: { projectId, name }, include: { deliveries: newestDelivery } });
  return row === null ? null : triggerViewOf(row);
}

const newestDelivery = {
  where: { outcome: { not: 'refused' satisfies DeliveryOutcome } },
  orderBy: { id: 'desc' },
  take: 1,
  select: { receivedAt: true },
} as const;

function triggerViewOf(row: Trigger & { deliveries: { receivedAt: Date }[] }): TriggerView {
  const what = `trigger ${row.name}`;
  return {
    id: row.id,
    name: row.name,
    provider: readColumn(hookProvider, row.provider, `${what} provider`),
    owner: row.owner,
    run: readColumn(triggeredRun, row.run, `${what} run`),
    filter: readColumn(triggerFilter, row.filter, `${what} filter`),
    group: row.groupTemplate,
    onNewer: readColumn(onNewer, row.onNewer, `${what} onNewer`),
    path: `/v1/hooks/${row.name}`,
    createdAt: isoTime(row.createdAt),
    lastDeliveryAt: isoTimeOrNull(row.deliveries[0]?.receivedAt ?? null),
  };
}

type DeliveryArgs = PageArgs & { triggerId: string; outcome?: DeliveryOutcome | undefined };

/** Deliveries to a trigger, newest first. */
export async function listDeliveries(db: Transaction, { triggerId, outcome, ...page }: DeliveryArgs): Promise<Page<DeliveryView>> {
  const after = decodeCursor(page.cursor, z.tuple([keyText]));
  const rows = await db.hookDelivery.findMany({
    where: { triggerId, ...(outcome === undefined ? {} : { outcome }), ...(after === null ? {} : { id: { lt: after[0] } }) },
    orderBy: { id: 'desc' },
    take: page.limit + 1,
  });
  return pageOf(rows, page.limit, (row) => [row.id], deliveryViewOf);
}

const deliveryViewOf = (row: HookDelivery): DeliveryView => ({
  id: row.id,
  key: row.key === row.id ? null : row.key,
  event: row.event,
  subject: row.subject,
  source: readNullable(z.object(runSource.shape), row.source, `delivery ${row.id} source`),
  outcome: readColumn(deliveryOutcome, row.outcome, `delivery ${row.id} outcome`),
  reason: row.reason,
  runId: row.runId,
  receivedAt: isoTime(row.receivedAt),
  repeats: row.repeats,
  releasedBy: row.releasedBy,
});

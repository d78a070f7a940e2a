import { type RunEvent, runEvent } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import type { Event } from '../generated/client.ts';
import { isoTime, readColumn } from './columns.ts';
import { runNotFound } from './get-run.ts';

export type EventArgs = {
  runId: string;
  /** Return events after this sequence number; 0 for all. */
  after: number;
  /** Instead of the first events after `after`, the last ones before this sequence number. */
  before?: number | undefined;
  /** Only those about this step. */
  step?: string | undefined;
  limit: number;
};

/**
 * A part of a run's history, oldest first.
 *
 * @throws CairnError `not_found`
 */
export async function listEvents(
  db: Transaction,
  { projectId, ...args }: EventArgs & { projectId: string },
): Promise<{ items: RunEvent[]; nextSeq: number }> {
  if ((await db.run.count({ where: { id: args.runId, projectId } })) === 0) throw runNotFound(args.runId);
  const items = await readEvents(db, args);
  return { items, nextSeq: items.at(-1)?.seq ?? args.after };
}

/** Events of a run that is known to exist. */
export async function readEvents(db: Transaction, { runId, after, before, step, limit }: EventArgs): Promise<RunEvent[]> {
  const rows = await db.event.findMany({
    where: {
      runId,
      seq: { gt: after, ...(before === undefined ? {} : { lt: before }) },
      ...(step === undefined ? {} : { data: { path: ['step'], equals: step } }),
    },
    orderBy: { seq: before === undefined ? 'asc' : 'desc' },
    take: limit,
  });
  return (before === undefined ? rows : rows.reverse()).map(eventViewOf);
}

function eventViewOf(row: Event): RunEvent {
  return readColumn(runEvent, { ...row, at: isoTime(row.at) }, `event ${row.seq} of run ${row.runId}`);
}

import type { auditEntry } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import { isoTime, readColumn, readNullable, recordColumn } from './columns.ts';
import { decodeCursor, type Page, type PageArgs, pageOf } from './page-cursor.ts';

type AuditEntryView = z.infer<typeof auditEntry>;

/** One page of what was changed by whom, newest first. */
export async function listAudit(db: Transaction, { projectId, ...page }: PageArgs & { projectId: string }): Promise<Page<AuditEntryView>> {
  const after = decodeCursor(page.cursor, z.tuple([z.string().regex(/^\d{1,18}$/)]));
  const rows = await db.auditEntry.findMany({
    where: { projectId, ...(after === null ? {} : { id: { lt: BigInt(after[0]) } }) },
    orderBy: { id: 'desc' },
    take: page.limit + 1,
  });
  return pageOf(
    rows,
    page.limit,
    (row) => [String(row.id)],
    (row) => ({
      at: isoTime(row.at),
      actor: row.actor,
      tokenId: row.tokenId,
      address: row.address,
      action: row.action,
      target: row.target,
      before: readNullable(recordColumn, row.before, `audit entry ${row.id} before`),
      after: readNullable(recordColumn, row.after, `audit entry ${row.id} after`),
      details: readColumn(recordColumn, row.details, `audit entry ${row.id} details`),
    }),
  );
}

import { type AuditEntry, tokenRole, type tokenView } from '@cairn/contract';
import { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Token } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, readColumn, readNullable, recordColumn } from './columns.ts';
import { decodeCursor, type Page, type PageArgs, pageOf } from './page-cursor.ts';

type AuditArgs = PageArgs & { projectId: string; actor?: string | undefined; action?: string | undefined; target?: string | undefined };

/** One page of the audit log, or of the entries of an actor, of an action or about a target, newest first: each by an index. */
export async function listAudit(db: Transaction, { projectId, actor, action, target, ...page }: AuditArgs): Promise<Page<AuditEntry>> {
  const after = decodeCursor(page.cursor, z.tuple([z.string().regex(/^\d{1,18}$/)]));
  const rows = await db.auditEntry.findMany({
    where: {
      projectId,
      ...(actor === undefined ? {} : { actor }),
      ...(action === undefined ? {} : { action }),
      ...(target === undefined ? {} : { target }),
      ...(after === null ? {} : { id: { lt: BigInt(after[0]) } }),
    },
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

export type TokenView = z.infer<typeof tokenView>;

/** The tokens that are not revoked, oldest first; expired ones are listed until they are revoked. */
export async function listTokens(db: Transaction, { projectId }: { projectId: string }): Promise<{ items: TokenView[] }> {
  const rows = await db.token.findMany({ where: { projectId, revokedAt: null }, orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] });
  return { items: rows.map(tokenViewOf) };
}

export function tokenViewOf(row: Token): TokenView {
  return {
    id: row.id,
    name: row.name,
    role: readColumn(tokenRole, row.role, `token ${row.id} role`),
    createdAt: isoTime(row.createdAt),
    expiresAt: isoTimeOrNull(row.expiresAt),
    lastUsedAt: isoTimeOrNull(row.lastUsedAt),
  };
}

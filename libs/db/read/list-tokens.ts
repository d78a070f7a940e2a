import { tokenRole, type tokenView } from '@cairn/contract';
import type { z } from 'zod';
import type { Transaction } from '../client.ts';
import type { Token } from '../generated/client.ts';
import { isoTime, isoTimeOrNull, readColumn } from './columns.ts';

export type TokenView = z.infer<typeof tokenView>;

/** The tokens that are not revoked, oldest first; expired ones are shown until they are revoked. */
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

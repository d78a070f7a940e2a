import { maxListedViews, type SavedView, viewPage } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { isoTime, readColumn } from './columns.ts';

/** The views of an owner, and those that others share: its own first, each by name. */
export async function listViews(db: Transaction, { projectId, owner }: { projectId: string; owner: string }): Promise<SavedView[]> {
  const orderBy = [{ name: 'asc' as const }, { owner: 'asc' as const }];
  const own = await db.savedView.findMany({ where: { projectId, owner }, orderBy, take: maxListedViews });
  const others = await db.savedView.findMany({
    where: { projectId, isShared: true, owner: { not: owner } },
    orderBy,
    take: maxListedViews - own.length,
  });
  return [...own, ...others].map(({ projectId: _, page, updatedAt, ...row }) => ({
    ...row,
    page: readColumn(viewPage, page, `view ${row.name} page`),
    updatedAt: isoTime(updatedAt),
  }));
}

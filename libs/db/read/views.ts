import { maxListedViews, type SavedView, viewPage } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import { isoTime, readColumn } from './columns.ts';

/** The views of an owner, and those that others share: its own first, each by name. */
export async function listViews(db: Transaction, { projectId, owner }: { projectId: string; owner: string }): Promise<SavedView[]> {
  const rows = await db.savedView.findMany({
    where: { projectId, OR: [{ owner }, { isShared: true }] },
    orderBy: [{ name: 'asc' }, { owner: 'asc' }],
    take: maxListedViews,
  });
  const views = rows.map(({ projectId: _, page, updatedAt, ...row }) => ({
    ...row,
    page: readColumn(viewPage, page, `view ${row.name} page`),
    updatedAt: isoTime(updatedAt),
  }));
  return [...views.filter((view) => view.owner === owner), ...views.filter((view) => view.owner !== owner)];
}

import { CairnError, type DatasetView } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import type { Dataset } from '../generated/client.ts';
import { isoTime, readColumn, sourceColumn } from './columns.ts';
import { decodeCursor, newestFirstKey, type Page, type PageArgs, pageOf } from './page-cursor.ts';

/** One page of datasets, every version, newest first. */
export async function listDatasets(db: Transaction, { projectId, ...page }: PageArgs & { projectId: string }): Promise<Page<DatasetView>> {
  const after = decodeCursor(page.cursor, newestFirstKey);
  const rows = await db.dataset.findMany({
    where: {
      projectId,
      ...(after === null ? {} : { OR: [{ createdAt: { lt: after[0] } }, { createdAt: after[0], id: { lt: after[1] } }] }),
    },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
    take: page.limit + 1,
  });
  return pageOf(rows, page.limit, (row) => [row.createdAt.toISOString(), row.id], datasetViewOf);
}

/**
 * The dataset with this name: the given version, or the newest.
 *
 * @throws CairnError `not_found`, naming the existing versions
 */
export async function getDataset(db: Transaction, args: { projectId: string; name: string; version: number | null }): Promise<DatasetView> {
  const { projectId, name, version } = args;
  const row = await db.dataset.findFirst({
    where: { projectId, name, ...(version === null ? {} : { version }) },
    orderBy: { version: 'desc' },
  });
  if (row !== null) return datasetViewOf(row);
  const versions = await db.dataset.findMany({ where: { projectId, name }, orderBy: { version: 'asc' }, select: { version: true } });
  if (versions.length > 0) {
    throw new CairnError('not_found', `Dataset ${name} has no version ${version}; it has ${versions.map((one) => one.version).join(', ')}`);
  }
  throw new CairnError('not_found', `Dataset ${name} not found; list the datasets with GET /v1/datasets`);
}

export function datasetViewOf(row: Dataset): DatasetView {
  return {
    id: row.id,
    name: row.name,
    version: row.version,
    owner: row.owner,
    source: readColumn(sourceColumn, row.source, `dataset ${row.id} source`),
    digest: row.digest,
    digestBasis: row.digestBasis,
    createdAt: isoTime(row.createdAt),
  };
}

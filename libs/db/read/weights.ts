import { CairnError, type WeightsView, weightsContent, weightsExtent } from '@cairn/contract';
import type { Transaction } from '../client.ts';
import type { Weights } from '../generated/client.ts';
import { isoTime, readColumn } from './columns.ts';
import { decodeCursor, newestFirstKey, type Page, type PageArgs, pageOf } from './page-cursor.ts';

/** One page of imported weights, newest first. */
export async function listWeights(db: Transaction, { projectId, ...page }: PageArgs & { projectId: string }): Promise<Page<WeightsView>> {
  const after = decodeCursor(page.cursor, newestFirstKey);
  const rows = await db.weights.findMany({
    where: {
      projectId,
      ...(after === null ? {} : { OR: [{ createdAt: { lt: after[0] } }, { createdAt: after[0], id: { lt: after[1] } }] }),
    },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
    take: page.limit + 1,
  });
  return pageOf(rows, page.limit, (row) => [row.createdAt.toISOString(), row.id], weightsViewOf);
}

/** @throws CairnError `not_found` */
export async function getWeights(db: Transaction, { projectId, name }: { projectId: string; name: string }): Promise<WeightsView> {
  const row = await db.weights.findUnique({ where: { projectId_name: { projectId, name } } });
  if (row === null) throw new CairnError('not_found', `Weights ${name} not found; list the imported weights with GET /v1/weights`);
  return weightsViewOf(row);
}

export function weightsViewOf(row: Weights): WeightsView {
  const { id, name, backbone, sha256, source, licence, embeddingDim, classes, owner, artifactId } = row;
  return {
    id,
    name,
    content: readColumn(weightsContent, row.content, `weights ${id} content`),
    backbone,
    extent: readColumn(weightsExtent, row.extent, `weights ${id} extent`),
    sha256,
    bytes: Number(row.bytes),
    source,
    licence,
    embeddingDim,
    classes,
    owner,
    artifactId,
    createdAt: isoTime(row.createdAt),
  };
}

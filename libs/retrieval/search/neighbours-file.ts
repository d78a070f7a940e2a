import { createHash } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import { wholeFile } from '../files/whole-file.ts';
import type { Cell, Parquet } from '../parquet/open-parquet.ts';

/** A query's neighbours, best first. */
export type RankedImages = { imageIds: readonly string[]; scores: readonly number[] };

/** The searched gallery: stored in the file's key-value metadata, so that a metric can name it. */
export type Gallery = {
  /** sha256 of the sorted ids, one per line: independent of the order of extraction. */
  digest: string;
  rows: number;
};

export type NeighboursFile = { gallery: Gallery; topK: number; neighbours: ReadonlyMap<string, RankedImages> };

/** See {@link Gallery}. */
export function galleryOf(ids: readonly string[]): Gallery {
  const hash = createHash('sha256');
  for (const id of ids.toSorted()) hash.update(id).update('\n');
  return { digest: hash.digest('hex'), rows: ids.length };
}

/**
 * Writes `neighbours.parquet`: query_id, rank (from 1), image_id, score (float64, the inner product), ordered by query, then rank. It gets
 * its name when it is complete. Throws `storage_full`.
 */
export async function writeNeighbours(parquet: Parquet, path: string, file: NeighboursFile, signal?: AbortSignal): Promise<void> {
  const columns = { query_id: 'text', rank: 'integer', image_id: 'text', score: 'double' } as const;
  const metadata = { galleryDigest: file.gallery.digest, galleryRows: String(file.gallery.rows), topK: String(file.topK) };
  await wholeFile(path, (unfinished) => parquet.write({ path: unfinished, columns, rows: rowsOf(file.neighbours), metadata }, signal));
}

/** Reads what {@link writeNeighbours} wrote. Throws `corrupt_artifact`, also where a query's ranks are not 1, 2, 3... */
export async function readNeighbours(parquet: Parquet, path: string, signal?: AbortSignal): Promise<NeighboursFile> {
  const metadata = await parquet.metadata(path, signal);
  const digest = metadata.get('galleryDigest');
  const [rows, topK] = [Number(metadata.get('galleryRows')), Number(metadata.get('topK'))];
  if (digest === undefined || !Number.isInteger(rows) || !Number.isInteger(topK)) {
    throw new CairnError('corrupt_artifact', `${path} does not say which gallery was searched. Search again.`);
  }
  const sql = 'select query_id, rank, image_id, score from read_parquet($path, file_row_number = true) order by file_row_number';
  const table = await parquet.query({ path, sql }, signal);
  const [ranks, imageIds, scores] = [table.integer('rank'), table.text('image_id'), table.number('score')];
  const neighbours = new Map<string, { imageIds: string[]; scores: number[] }>();
  table.text('query_id').forEach((queryId, row) => {
    const ranked = neighbours.get(queryId) ?? { imageIds: [], scores: [] };
    if (ranks[row] !== ranked.imageIds.length + 1) {
      throw new CairnError(
        'corrupt_artifact',
        `${path}: row ${row + 1} has rank ${ranks[row]} for query ${queryId}, where ${ranked.imageIds.length + 1} follows. Search again.`,
      );
    }
    ranked.imageIds.push(imageIds[row] ?? '');
    ranked.scores.push(scores[row] ?? 0);
    neighbours.set(queryId, ranked);
  });
  return { gallery: { digest, rows }, topK, neighbours };
}

function* rowsOf(neighbours: ReadonlyMap<string, RankedImages>): Generator<Cell[]> {
  for (const [queryId, { imageIds, scores }] of neighbours) {
    for (const [index, imageId] of imageIds.entries()) yield [queryId, index + 1, imageId, scores[index] ?? 0];
  }
}

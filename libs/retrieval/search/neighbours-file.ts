import { createHash } from 'node:crypto';
import { CairnError } from '@cairn/contract';
import { type Ids, idsOf, type TableIds } from '../features/id-table.ts';
import { wholeFile } from '../files/whole-file.ts';
import type { Cell, Parquet } from '../parquet/open-parquet.ts';
import type { Neighbours } from './find-neighbours.ts';

/** A query's neighbours, best first. */
export type RankedImages = { imageIds: readonly string[]; scores: readonly number[] };

/** The neighbours of each query as images. Many queries share an image; its id is one string for all of them. */
export function rankedImages(queryIds: readonly string[], { k, rows, scores }: Neighbours, ids: Ids): Map<string, RankedImages> {
  const known = new Map<number, string>();
  const idOf = (row: number): string => {
    const id = known.get(row) ?? ids.at(row) ?? '';
    known.set(row, id);
    return id;
  };
  return new Map(
    queryIds.map((queryId, query) => {
      const [from, to] = [query * k, (query + 1) * k];
      return [queryId, { imageIds: Array.from(rows.subarray(from, to), idOf), scores: Array.from(scores.subarray(from, to)) }];
    }),
  );
}

/** The searched gallery: stored in the file's key-value metadata, so that a metric can name it. */
export type Gallery = {
  /** sha256 of the sorted ids, one per line: independent of the order of extraction. */
  digest: string;
  rows: number;
};

export type NeighboursFile = { gallery: Gallery; topK: number; neighbours: ReadonlyMap<string, RankedImages> };

const lineEnd = Buffer.from('\n');

/** See {@link Gallery}. */
export function galleryOf(ids: TableIds | readonly string[]): Gallery {
  const { table, numbers } = 'table' in ids ? ids : idsOf(ids);
  const hash = createHash('sha256');
  // Few large pieces: a call of `update` takes longer than the bytes of an id.
  let piece: Buffer[] = [];
  for (const number of Int32Array.from(numbers).sort(table.compare)) {
    piece.push(table.bytesAt(number), lineEnd);
    if (piece.length < 4096) continue;
    hash.update(Buffer.concat(piece));
    piece = [];
  }
  hash.update(Buffer.concat(piece));
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
  const neighbours = new Map<string, { imageIds: string[]; scores: number[] }>();
  // An image is the neighbour of many queries; its id is kept once.
  const idOf = new Map<string, string>();
  let row = 0;
  const take = (queryId: string, rank: number, imageId: string, score: number): void => {
    row += 1;
    const ranked = neighbours.get(queryId) ?? { imageIds: [], scores: [] };
    if (rank !== ranked.imageIds.length + 1) {
      throw new CairnError(
        'corrupt_artifact',
        `${path}: row ${row} has rank ${rank} for query ${queryId}, where ${ranked.imageIds.length + 1} follows. Search again.`,
      );
    }
    const id = idOf.get(imageId) ?? imageId;
    idOf.set(id, id);
    ranked.imageIds.push(id);
    ranked.scores.push(score);
    neighbours.set(queryId, ranked);
  };
  await parquet.scan(
    { path, sql: 'select query_id, rank, image_id, score from read_parquet($path)' },
    (some) => {
      const [ranks, imageIds, scores] = [some.integer('rank'), some.text('image_id'), some.number('score')];
      for (const [at, queryId] of some.text('query_id').entries()) take(queryId, ranks[at] ?? 0, imageIds[at] ?? '', scores[at] ?? 0);
    },
    signal,
  );
  return { gallery: { digest, rows }, topK, neighbours };
}

function* rowsOf(neighbours: ReadonlyMap<string, RankedImages>): Generator<Cell[]> {
  for (const [queryId, { imageIds, scores }] of neighbours) {
    for (const [index, imageId] of imageIds.entries()) yield [queryId, index + 1, imageId, scores[index] ?? 0];
  }
}

import { stat } from 'node:fs/promises';
import { assertOneOrigin, CairnError } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { sortIds, type TableIds } from '../features/id-table.ts';
import { assertUnitRows } from '../features/normalize-row.ts';
import { readFeatureIds, readFeatures, readOrigins } from '../features/read-features.ts';
import type { Device } from '../onnx/create-session.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import type { Rows } from './candidates.ts';
import { type CandidatesOrigin, mergeCandidates } from './candidates-file.ts';
import { findNeighbours, type Neighbours, type VectorSource } from './find-neighbours.ts';
import { type Gallery, galleryOf, rankedImages, writeNeighbours } from './neighbours-file.ts';

/** Queries in memory: one vector per id, at most of unit length. */
export type QueryVectors = { ids: readonly string[]; values: Float32Array<ArrayBuffer>; dim: number };

/** The folder of candidates, and the feature sets, by content, that they must be of. */
export type GivenCandidates = { dir: string; origin: Pick<CandidatesOrigin, 'query' | 'index'> };

export type SearchExactOptions = {
  parquet: Parquet;
  /** The folder of a feature set, or vectors. */
  queries: string | QueryVectors;
  /** The folder of the feature set to search. */
  index: string;
  /** What a fleet found of them ({@link openScan}): then only the ids of the two feature sets are read. */
  candidates?: GivenCandidates | null;
  topK: number;
  /** Gallery rows per matrix product. */
  blockRows: number;
  threads: number;
  device?: Device;
  /** The Parquet file to write. */
  out: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { rows: number; total: number }) => void) | undefined;
};

export type SearchResult = {
  queries: number;
  gallery: Gallery;
  /** Neighbours per query: topK, or the gallery's rows where those are fewer. */
  k: number;
  file: { path: string; bytes: number; sha256: string };
  seconds: { read: number; search: number; write: number };
};

/**
 * Finds each query's exact nearest images and writes them ({@link writeNeighbours}). A query that is itself in the gallery is found there
 * too. Equal scores are ordered by id, so the result does not depend on the order of the shards. Throws `corrupt_artifact` for an incomplete
 * feature set, `model_mismatch` where vectors differ in length or origin, `bad_row` for a vector that is not of length one, `storage_full`;
 * with candidates as {@link mergeCandidates}.
 */
export async function searchExact(options: SearchExactOptions): Promise<SearchResult> {
  const { parquet, topK, out, candidates = null, signal } = options;
  const reading = performance.now();
  if (typeof options.queries === 'string') assertOneOrigin('the search', await readOrigins([options.queries, options.index]));
  const opened = candidates === null ? await openSets(options) : await openCandidates(options, candidates);
  const order = sortIds(opened.indexIds.table);
  const places = opened.indexIds.numbers.map((number) => order.placeOf[number] ?? -1);
  const gallery = galleryOf(order);

  const searching = performance.now();
  const found = await opened.find(places);

  const writing = performance.now();
  const neighbours = rankedImages(opened.queryIds, found, order);
  await writeNeighbours(parquet, out, { gallery, topK, neighbours }, signal);
  const file = { path: out, bytes: (await stat(out)).size, sha256: await sha256File(out, signal) };
  const seconds = {
    read: (searching - reading) / 1000,
    search: (writing - searching) / 1000,
    write: (performance.now() - writing) / 1000,
  };
  return { queries: opened.queryIds.length, gallery, k: found.k, file, seconds };
}

/** The ids of a search, and how its neighbours are found, by the place of each index row. */
type Opened = { queryIds: readonly string[]; indexIds: TableIds; find(places: Int32Array): Promise<Neighbours> };

async function openSets(options: SearchExactOptions): Promise<Opened> {
  const { parquet, topK, blockRows, threads, device = 'cpu', signal, onProgress } = options;
  const index = await readFeatures(options.index, parquet, signal);
  const queries = typeof options.queries === 'string' ? await readQueries(options.queries, parquet, signal) : options.queries;
  if (queries.values.length !== queries.ids.length * queries.dim || new Set(queries.ids).size !== queries.ids.length) {
    throw new CairnError(
      'internal',
      `${queries.values.length} values do not make ${queries.ids.length} queries of ${queries.dim}, each id once`,
    );
  }
  assertUnitRows(queries.values, queries.dim, (row) => `The queries: the vector of ${queries.ids[row]}`);
  const check = (values: Rows, firstRow: number): void =>
    assertUnitRows(values, index.dim, (row) => `The index images: the vector of ${index.ids.at(firstRow + row)}`);
  const { read, readHalf } = index;
  const gallery: VectorSource = {
    rows: index.ids.length,
    dim: index.dim,
    async read(firstRow, count) {
      const values = await read(firstRow, count);
      check(values, firstRow);
      return values;
    },
    readHalf:
      readHalf &&
      (async (firstRow, into) => {
        await readHalf(firstRow, into);
        check(into, firstRow);
      }),
  };
  return {
    queryIds: queries.ids,
    indexIds: index.ids,
    find: (places) => findNeighbours({ queries, gallery, places, topK, blockRows, threads, device, signal, onProgress }),
  };
}

async function openCandidates(options: SearchExactOptions, candidates: GivenCandidates): Promise<Opened> {
  const { parquet, topK, signal, onProgress } = options;
  if (typeof options.queries !== 'string') throw new CairnError('internal', 'Candidates are of the queries of a feature set');
  const queryIds = [...(await readFeatureIds(options.queries, parquet, signal))];
  return {
    queryIds,
    indexIds: await readFeatureIds(options.index, parquet, signal),
    find(places) {
      const { dir, origin } = candidates;
      return mergeCandidates({ parquet, dir, origin: { ...origin, topK }, queries: queryIds.length, places, signal, onProgress });
    },
  };
}

async function readQueries(dir: string, parquet: Parquet, signal?: AbortSignal): Promise<QueryVectors> {
  const features = await readFeatures(dir, parquet, signal);
  return { ids: [...features.ids], values: await features.read(0, features.ids.length), dim: features.dim };
}

import { join } from 'node:path';
import { CairnError, checkRerank, needsReferences, type RerankSettings, usesKReciprocal } from '@cairn/contract';
import type { Device } from '../onnx/create-session.ts';
import { createScorer } from '../search/create-scorer.ts';
import { findNeighbours, type Neighbours, neighboursOf } from '../search/find-neighbours.ts';
import { createTopList, type TopList } from '../search/top-list.ts';
import { boost, type Category, columnsOf, type Shares } from './category-boost.ts';
import { changeVectors } from './change-vectors.ts';
import { createProducts } from './create-products.ts';
import { kReciprocalOverlaps } from './k-reciprocal.ts';
import type { ModelVectors, SearchMeans, SearchProgress } from './model-vectors.ts';
import { type PlacedVectors, readPlaces } from './placed-features.ts';
import { cosineDistance } from './rerank-votes.ts';
import { jaccardSimilarity } from './sparse-rows.ts';
import { assertEnoughReferences, categoryAt, sharesOfVotes, voteOnQueries } from './vote-on-queries.ts';

export type RerankSearchOptions = {
  models: readonly ModelVectors[];
  /** The category of each reference, by place; empty without references. */
  categories: readonly Category[];
  settings: RerankSettings;
  topK: number;
  /** Gallery rows per matrix product. */
  blockRows: number;
  threads: number;
  device?: Device;
  /** A folder for whitened or expanded vectors; only needed for these. */
  scratch?: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: SearchProgress) => void) | undefined;
};

/** Maximum number of similarities of queries to a block of the index: 2^24 float64 are 128 MB, a few times over. */
const MAX_SIMILARITIES = 1 << 24;

/**
 * Searches several models together and reranks as the 2nd place solution of Google Landmark Retrieval 2021 does (landmark_retrieval.py):
 *
 * - `off`: the weighted sum of the models' similarities;
 * - `before_merge`: each model's similarities are raised by the votes of its references before they are added;
 * - `after_merge`: the weighted sum is raised by each model's votes, unweighted, one model after the other;
 * - `k_reciprocal`: each similarity is 1 - ((1 - lambda) J + lambda d) of queries and index together (KR_FLAG).
 *
 * Before that vectors may be whitened and expanded with their neighbours ({@link changeVectors}).
 *
 * Similarities are computed in float64, so neither blocks nor threads nor shards change them; equal ones are ordered by place. Throws
 * `invalid_setting` for too few references, `model_mismatch` where vectors differ in length, `bad_row` for a vector that is not of length one.
 *
 * @returns for each query by place, its topK images by place, the best first
 */
export async function rerankSearch(options: RerankSearchOptions): Promise<Neighbours> {
  const { models, categories, settings, topK, device = 'cpu', threads, blockRows, signal, onProgress } = options;
  checkRerank(settings);
  const areChanged = settings.expandQueries + settings.augmentIndex > 0 || models.some(({ whitening }) => whitening !== null);
  if (options.scratch === undefined && areChanged) {
    throw new CairnError('internal', 'Vectors cannot be whitened or expanded without a folder');
  }
  for (const model of models) checkModel(model, settings, categories.length);
  const products = await createProducts({ device, threads });
  try {
    const scorer = await createScorer({ device, threads });
    try {
      const means: SearchMeans = { scorer, products, blockRows, threads, signal, onProgress };
      const prepared: Prepared[] = [];
      for (const [at, model] of models.entries()) {
        const file = (kind: string): string => join(options.scratch ?? '', `model-${at}-${kind}.npy`);
        prepared.push(await prepare(await changeVectors(model, settings, means, file), categories, settings, means));
      }
      return await merge(prepared, settings, topK, means);
    } finally {
      await scorer.close();
    }
  } finally {
    await products.close();
  }
}

function checkModel({ name, queries, index, references, whitening }: ModelVectors, settings: RerankSettings, categories: number): void {
  for (const other of [index, references, whitening]) {
    if (other === null || other.dim === queries.dim) continue;
    throw new CairnError(
      'model_mismatch',
      `${queries.name} have vectors of ${queries.dim} values, ${other.name.replace('The', 'the')} of ${other.dim}. Extract all of them with one model.`,
    );
  }
  if (!needsReferences(settings)) return;
  const found = references?.rowOfPlace.length ?? categories;
  if (found !== categories) throw new CairnError('internal', `${found} references of ${name} have ${categories} categories`);
  assertEnoughReferences(references?.name ?? `The references of ${name}`, found, settings);
}

/** Data of a model that is computed before the index is scanned. */
type Prepared = {
  model: ModelVectors;
  /** Queries in the order of their places. */
  queries: Float32Array<ArrayBuffer>;
  /** Of each query, and of each index image. */
  votes: { shares: readonly Shares[]; tags: readonly Category[] } | null;
  overlaps: readonly ReadonlyMap<number, number>[] | null;
};

async function prepare(
  model: ModelVectors,
  categories: readonly Category[],
  settings: RerankSettings,
  means: SearchMeans,
): Promise<Prepared> {
  const { index, references, name: what } = model;
  const queries = await readPlaces(model.queries, Int32Array.from(model.queries.rowOfPlace.keys()), means.signal);
  const overlaps = usesKReciprocal(settings) ? await kReciprocalOverlaps({ queries: model.queries, index, settings, means, what }) : null;
  if (!needsReferences(settings)) return { model, queries, votes: null, overlaps };
  const compared = (): PlacedVectors => {
    if (references === null) throw new CairnError('internal', `The references of ${what} were not opened`);
    return references;
  };
  const votes = model.votes ?? (await voteOnQueries({ queries, references: compared(), settings, means, what }));
  const tags =
    model.tags === null
      ? await tagIndex({ index, references: compared(), categories, means, what })
      : Array.from(model.tags, (place) => categoryAt(categories, place));
  return { model, queries, votes: { shares: sharesOfVotes(votes, categories), tags }, overlaps };
}

/** Scans the index block by block, in the order of the first model's vectors. */
async function merge(prepared: readonly Prepared[], settings: RerankSettings, topK: number, means: SearchMeans): Promise<Neighbours> {
  const [first] = prepared;
  if (first === undefined) return { k: 0, rows: new Int32Array(), scores: new Float64Array() };
  if (prepared.length === 1 && isPlain(first)) return nearest(first, topK, means);
  const { index, queries } = first.model;
  const queryCount = queries.rowOfPlace.length;
  const k = Math.min(topK, index.rowOfPlace.length);
  const lists = Array.from({ length: queryCount }, () => createTopList(k));
  const blockRows = Math.max(1, Math.min(means.blockRows, Math.floor(MAX_SIMILARITIES / Math.max(1, queryCount))));
  for (let row = 0; row < index.rows && k > 0; row += blockRows) {
    means.signal?.throwIfAborted();
    const places = index.places.subarray(row, row + blockRows).filter((place) => place >= 0);
    const sums = new Float64Array(queryCount * places.length);
    for (const one of prepared) await addModel(sums, one, places, settings, means);
    if (settings.mode === 'after_merge') for (const one of prepared) raise(sums, one, places, settings);
    for (const [query, list] of lists.entries()) take(list, sums.subarray(query * places.length, (query + 1) * places.length), places);
    means.onProgress?.({ what: 'searching', done: Math.min(index.rows, row + blockRows), total: index.rows });
  }
  return neighboursOf(lists, k);
}

/** Whether the similarities to a model's vectors are the result themselves. */
const isPlain = ({ model, votes, overlaps }: Prepared): boolean => model.weight === 1 && votes === null && overlaps === null;

/** With nothing to add or raise, float32 products say which rows are worth the float64 ones: a fraction of the work, and the same result. */
function nearest({ model: { index }, queries }: Prepared, topK: number, means: SearchMeans): Promise<Neighbours> {
  const onProgress = ({ rows: done, total }: { rows: number; total: number }): void =>
    means.onProgress?.({ what: 'searching', done, total });
  return findNeighbours({ ...means, queries: { values: queries, dim: index.dim }, gallery: index, places: index.places, topK, onProgress });
}

async function addModel(sums: Float64Array, one: Prepared, places: Int32Array, settings: RerankSettings, means: SearchMeans) {
  const { model, queries, overlaps } = one;
  const { dim } = model.index;
  const block = await readPlaces(model.index, places, means.signal);
  const similarities = await means.products.of(queries, block, dim);
  if (overlaps !== null) {
    for (const [query, ofQuery] of overlaps.entries()) {
      for (const [column, place] of places.entries()) {
        const at = query * places.length + column;
        const jaccard = 1 - jaccardSimilarity(ofQuery.get(place) ?? 0);
        const distance = cosineDistance(similarities[at] as number);
        similarities[at] = 1 - ((1 - settings.lambda) * jaccard + settings.lambda * distance);
      }
    }
  }
  if (settings.mode === 'before_merge') raise(similarities, one, places, settings);
  for (let at = 0; at < sums.length; at++) sums[at] = (sums[at] as number) + model.weight * (similarities[at] as number);
}

function raise(similarities: Float64Array, { votes }: Prepared, places: Int32Array, settings: RerankSettings): void {
  if (votes === null) return;
  const columns = columnsOf(Array.from(places, (place) => votes.tags[place] as Category));
  for (const [query, shares] of votes.shares.entries()) {
    boost(similarities.subarray(query * places.length, (query + 1) * places.length), columns, shares, settings);
  }
}

function take(list: TopList, similarities: Float64Array, places: Int32Array): void {
  let least = list.least();
  for (let column = 0; column < similarities.length; column++) {
    const similarity = similarities[column] as number;
    if (similarity < least) continue;
    list.add(similarity, places[column] as number);
    least = list.least();
  }
}

/** Index images that are compared with the references in one pass over these: 200 MB of vectors of 512 values. */
const CHUNK_ROWS = 100_000;

type TagOptions = {
  index: PlacedVectors;
  references: PlacedVectors;
  categories: readonly Category[];
  means: SearchMeans;
  what: string;
};

/** The category of each index image, by place: that of its nearest reference, the first one on ties. */
async function tagIndex({ index, references, categories, means, what }: TagOptions): Promise<Category[]> {
  const { dim } = index;
  const tags: Category[] = new Array(index.rowOfPlace.length);
  for (let first = 0; first < index.rows; first += CHUNK_ROWS) {
    const values = await index.read(first, CHUNK_ROWS);
    const rows = values.length / dim;
    const { rows: nearest } = await findNeighbours({
      ...means,
      queries: { values, dim },
      gallery: references,
      places: references.places,
      topK: 1,
      onProgress: ({ rows: done, total }) =>
        means.onProgress?.({ what: `${what}: landmarks of the index`, done: first + Math.floor((rows * done) / total), total: index.rows }),
    });
    for (let row = 0; row < rows; row++) {
      const place = index.places[first + row] as number;
      if (place >= 0) tags[place] = categoryAt(categories, nearest[row]);
    }
  }
  return tags;
}

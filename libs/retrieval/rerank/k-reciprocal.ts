import type { RerankSettings } from '@cairn/contract';
import { innerProduct } from '../search/candidates.ts';
import { findNeighbours } from '../search/find-neighbours.ts';
import type { SearchMeans } from './model-vectors.ts';
import { gatherPlaces, type PlacedVectors } from './placed-features.ts';
import { expandedSet, meanOverFirst, type Ranks } from './reciprocal-sets.ts';
import { cosineDistance } from './rerank-votes.ts';
import { createSparseRows, type SparseRow, weightedRow } from './sparse-rows.ts';

/** Items whose neighbours are searched in one pass, and whose sets are weighted together: bounds memory. */
const CHUNK_ROWS = 100_000;
const GROUP_ROWS = 2048;

export type KReciprocalOptions = {
  queries: PlacedVectors;
  index: PlacedVectors;
  settings: Pick<RerankSettings, 'k1' | 'k2'>;
  means: SearchMeans;
  what: string;
};

/**
 * Of each query, the overlap of its k-reciprocal set with that of each index image, by place; missing images have no overlap. Neighbours
 * are from queries and index together, with queries first on ties.
 */
export async function kReciprocalOverlaps(options: KReciprocalOptions): Promise<Map<number, number>[]> {
  const { queries, index, settings, means, what } = options;
  const all = joined(queries, index);
  const ranks = await rankAll(all, Math.max(settings.k1 + 1, settings.k2), means, what);
  const own = await weighAll(all, ranks, settings.k1, means, what);
  const meanOf = (item: number): SparseRow => meanOverFirst(ranks, item, settings.k2, own.get);

  const queryCount = queries.rowOfPlace.length;
  const postings = new Map<number, { query: number; value: number }[]>();
  for (let query = 0; query < queryCount; query++) {
    const { columns, values } = meanOf(query);
    for (let at = 0; at < columns.length; at++) {
      const posting = { query, value: values[at] as number };
      const column = columns[at] as number;
      const postingsOfColumn = postings.get(column);
      if (postingsOfColumn === undefined) postings.set(column, [posting]);
      else postingsOfColumn.push(posting);
    }
  }
  const overlaps = Array.from({ length: queryCount }, () => new Map<number, number>());
  for (let place = 0; place < index.rowOfPlace.length; place++) {
    if (place % GROUP_ROWS === 0) means.signal?.throwIfAborted();
    const { columns, values } = meanOf(queryCount + place);
    for (let at = 0; at < columns.length; at++) {
      for (const { query, value } of postings.get(columns[at] as number) ?? []) {
        const ofQuery = overlaps[query] as Map<number, number>;
        ofQuery.set(place, (ofQuery.get(place) ?? 0) + Math.min(value, values[at] as number));
      }
    }
  }
  return overlaps;
}

/** Queries, then index, as one set: the places of index images follow those of the queries. */
function joined(queries: PlacedVectors, index: PlacedVectors): PlacedVectors {
  const [queryRows, queryCount] = [queries.rows, queries.rowOfPlace.length];
  const shifted = (numbers: Int32Array, by: number): Int32Array => numbers.map((number) => (number < 0 ? -1 : number + by));
  return {
    name: `${queries.name} and ${index.name}`,
    rows: queryRows + index.rows,
    dim: queries.dim,
    places: concatenated(queries.places, shifted(index.places, queryCount)),
    rowOfPlace: concatenated(queries.rowOfPlace, shifted(index.rowOfPlace, queryRows)),
    async read(firstRow, count) {
      if (firstRow >= queryRows) return index.read(firstRow - queryRows, count);
      const some = await queries.read(firstRow, count);
      const rest = firstRow + count - queryRows;
      if (rest <= 0) return some;
      const more = await index.read(0, rest);
      const values = new Float32Array(some.length + more.length);
      values.set(some);
      values.set(more, some.length);
      return values;
    },
  };
}

function concatenated(a: Int32Array, b: Int32Array): Int32Array {
  const all = new Int32Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}

async function rankAll(all: PlacedVectors, wanted: number, means: SearchMeans, what: string): Promise<Ranks> {
  const count = all.rowOfPlace.length;
  const width = Math.min(wanted, count);
  const items = new Int32Array(count * width);
  for (let first = 0; first < all.rows; first += CHUNK_ROWS) {
    const values = await all.read(first, CHUNK_ROWS);
    const { rows } = await findNeighbours({
      ...means,
      queries: { values, dim: all.dim },
      gallery: all,
      places: all.places,
      topK: width,
      onProgress: ({ rows: done, total }) =>
        means.onProgress?.({
          what: `${what}: neighbours of all images`,
          done: first + Math.floor((Math.min(CHUNK_ROWS, all.rows - first) * done) / total),
          total: all.rows,
        }),
    });
    for (let row = 0; row < values.length / all.dim; row++) {
      const place = all.places[first + row] as number;
      if (place >= 0) items.set(rows.subarray(row * width, (row + 1) * width), place * width);
    }
  }
  return { width, items };
}

/** The k-reciprocal set of every item, weighted by its distances. */
async function weighAll(all: PlacedVectors, ranks: Ranks, k1: number, means: SearchMeans, what: string) {
  const { dim } = all;
  const rows = createSparseRows(all.rowOfPlace.length);
  for (let first = 0; first < all.rows; first += GROUP_ROWS) {
    means.signal?.throwIfAborted();
    const values = await all.read(first, GROUP_ROWS);
    const items = Array.from({ length: values.length / dim }, (_, at) => ({ at, place: all.places[first + at] as number }));
    const placed = items.filter(({ place }) => place >= 0).map((item) => ({ ...item, columns: expandedSet(ranks, item.place, k1) }));
    const gathered = await gatherPlaces(
      all,
      placed.flatMap(({ columns }) => columns),
      means.signal,
    );
    for (const { at, place, columns } of placed) {
      const vector = values.subarray(at * dim, (at + 1) * dim);
      const distances = columns.map((column) => cosineDistance(innerProduct(vector, gathered.vectorOf(column), 0)));
      rows.set(place, weightedRow(columns, distances));
    }
    means.onProgress?.({ what: `${what}: k-reciprocal sets`, done: Math.min(all.rows, first + GROUP_ROWS), total: all.rows });
  }
  return rows;
}

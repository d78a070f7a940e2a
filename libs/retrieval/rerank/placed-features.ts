import { CairnError } from '@cairn/contract';
import type { IdOrder, TableIds } from '../features/id-table.ts';
import { assertUnitRows } from '../features/normalize-row.ts';
import { createNpy, readNpyHalf, readNpyHeader, readNpyRows } from '../features/npy.ts';
import type { Features } from '../features/read-features.ts';
import { writingTo } from '../files/whole-file.ts';
import type { Rows } from '../search/candidates.ts';
import type { VectorSource } from '../search/find-neighbours.ts';

/**
 * Vectors whose rows have a place in a separate order: the sorted ids of queries and index, the list's order of references. Results depend
 * only on the places, not on the shards of the extraction.
 */
export type PlacedVectors = VectorSource & {
  /** The name in errors. */
  name: string;
  /** The place of each row; -1 for a skipped one. */
  places: Int32Array;
  /** The row of each place. */
  rowOfPlace: Int32Array;
};

/**
 * A feature set in the order of `order`, whose table has its ids: rows with other ids are skipped, and each of its ids must have a row
 * (`bad_row`). Each row is checked when it is read: `bad_row` if its length is not one, such as one of zeros or with NaN.
 */
export function placeFeatures(features: Features, order: IdOrder, name: string): PlacedVectors {
  const { dim, ids } = features;
  const { places, rowOfPlace } = placeIds(ids, order, name);
  const check = (values: Rows, firstRow: number): void =>
    assertUnitRows(values, dim, (row) => `${name}: the vector of ${ids.at(firstRow + row)}`);
  const { readHalf } = features;
  return {
    name,
    rows: ids.length,
    dim,
    places,
    rowOfPlace,
    async read(firstRow, count) {
      const values = await features.read(firstRow, count);
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
}

/** The place of each row, and the row of each place. Throws `bad_row` if an id of `order` has no row. */
export function placeIds({ numbers }: TableIds, order: IdOrder, name: string): Pick<PlacedVectors, 'places' | 'rowOfPlace'> {
  const places = numbers.map((number) => order.placeOf[number] ?? -1);
  const rowOfPlace = new Int32Array(order.length).fill(-1);
  for (const [row, place] of places.entries()) if (place >= 0) rowOfPlace[place] = row;
  const { count, first } = positionsOf(rowOfPlace, -1);
  if (count === 0) return { places, rowOfPlace };
  const examples = first.map((place) => order.at(place) ?? '');
  throw new CairnError('bad_row', `${name} lack images that another model has: ${count}, such as ${examples.join(', ')}`, {
    details: { missing: count, examples, remedy: 'Use features of the same images for every model.' },
  });
}

/** How often a value occurs, and the first five positions: for errors that name examples. */
export function positionsOf(values: Int32Array | Uint8Array, sought: number): { count: number; first: number[] } {
  const first: number[] = [];
  let count = 0;
  for (let at = values.indexOf(sought); at !== -1; at = values.indexOf(sought, at + 1)) {
    count += 1;
    if (first.length < 5) first.push(at);
  }
  return { count, first };
}

/**
 * Derived vectors in a file: `write` appends them as float16, `dim` values each. They are read on demand, so memory does not grow with
 * them. Throws `storage_full`.
 */
export async function writeVectors(
  of: PlacedVectors,
  dim: number,
  path: string,
  write: (append: (rows: Float16Array) => Promise<void>) => Promise<void>,
): Promise<PlacedVectors> {
  const npy = await writingTo(path, () => createNpy(path, dim));
  try {
    await write((rows) => writingTo(path, () => npy.append(rows)));
    await writingTo(path, () => npy.finish());
  } finally {
    await npy.close();
  }
  const header = await readNpyHeader(path);
  return {
    ...of,
    dim,
    async read(firstRow, count) {
      const rows = Math.max(0, Math.min(count, header.rows - firstRow));
      const values = new Float32Array(rows * dim);
      await readNpyRows(path, header, firstRow, values);
      return values;
    },
    readHalf: (firstRow, into) => readNpyHalf(path, header, firstRow, into),
  };
}

/** Rows at most this far apart are read together, up to this many rows: 8 MB of vectors of 512 values. */
const GAP_ROWS = 16;
const RUN_ROWS = 4096;

/** Rows by their numbers, in the order given, once each. Neighbouring ones are read together. */
export async function readRows(source: VectorSource, rows: ArrayLike<number>, signal?: AbortSignal): Promise<Float32Array<ArrayBuffer>> {
  const { dim } = source;
  const values = new Float32Array(rows.length * dim);
  const order = Int32Array.from({ length: rows.length }, (_, at) => at).sort((a, b) => (rows[a] as number) - (rows[b] as number));
  const rowAt = (at: number): number => rows[order[at] as number] as number;
  for (let from = 0; from < order.length; ) {
    signal?.throwIfAborted();
    let to = from + 1;
    const first = rowAt(from);
    while (to < order.length && rowAt(to) - rowAt(to - 1) <= GAP_ROWS && rowAt(to) - first < RUN_ROWS) to += 1;
    const block = await source.read(first, rowAt(to - 1) - first + 1);
    for (let at = from; at < to; at++) {
      const start = (rowAt(at) - first) * dim;
      values.set(block.subarray(start, start + dim), (order[at] as number) * dim);
    }
    from = to;
  }
  return values;
}

/** The vectors of these places. */
export function readPlaces(vectors: PlacedVectors, places: ArrayLike<number>, signal?: AbortSignal): Promise<Float32Array<ArrayBuffer>> {
  const rows = Int32Array.from(places, (place) => vectors.rowOfPlace[place] as number);
  return readRows(vectors, rows, signal);
}

/** Vectors by their places, each in memory once. */
export type Gathered = { vectorOf(place: number): Float32Array };

/** The vectors of these places, which may come several times. */
export async function gatherPlaces(vectors: PlacedVectors, places: Iterable<number>, signal?: AbortSignal): Promise<Gathered> {
  const distinct = ascending(places);
  const values = await readPlaces(vectors, distinct, signal);
  const { dim } = vectors;
  const at = new Map(Array.from(distinct, (place, position) => [place, position]));
  return {
    vectorOf(place) {
      const position = at.get(place);
      if (position === undefined) throw new RangeError(`${vectors.name}: the place ${place} was not gathered`);
      return values.subarray(position * dim, (position + 1) * dim);
    },
  };
}

/** Each number once. */
export function ascending(numbers: Iterable<number>): Int32Array {
  return Int32Array.from(new Set(numbers)).sort();
}

import { writeSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { assertOneOrigin, CairnError, manifestName, type Origin } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { type IdOrder, sortIds } from '../features/id-table.ts';
import { readFeatures, readOrigins } from '../features/read-features.ts';
import { wholeFile, writeWhole } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { type PlacedVectors, placeFeatures } from '../rerank/placed-features.ts';
import { type Gallery, galleryOf } from './neighbours-file.ts';

/** Libraries whose index files can be written, and what kind of index each gets. */
export const indexLibraries = {
  /** Exact: all vectors in float32, compared by their inner product. */
  faiss: 'IndexFlatIP',
  /** Approximate: a graph (HNSW) over the vectors in float16. Its library searches it exactly too. */
  usearch: 'HNSW, inner product, float16',
} as const;
export type IndexLibrary = keyof typeof indexLibraries;

export type WriteIndexesOptions = {
  parquet: Parquet;
  /** The gallery of each model, in one order of places: a row of an index is a place. */
  galleries: readonly { name: string; vectors: PlacedVectors }[];
  ids: IdOrder;
  libraries: readonly IndexLibrary[];
  /** The folder that gets the files. */
  out: string;
  threads: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { what: string; done: number; total: number }) => void) | undefined;
};

/** The index files of a gallery, as a manifest lists them. */
export type IndexFiles = {
  /** The Parquet file with the id (`image_id`) of each row, in the order of the rows. */
  ids: string;
  rows: number;
  indexes: { model: string; file: string; library: IndexLibrary; kind: string; dim: number }[];
};

/** Vectors in memory at a time: 32 MB of 512 values. */
const BLOCK_ROWS = 16_384;

/**
 * Writes an index of each gallery for each library, `index.faiss` and `index.usearch`, with the model's name where there are several, and the
 * ids of their rows, `ids.parquet`. The vectors are the features, each in the row of its place, so equal scores are ordered as in a search.
 * Throws `bad_row`, `storage_full`.
 */
export async function writeIndexes(options: WriteIndexesOptions): Promise<{ manifest: IndexFiles; names: string[] }> {
  const { parquet, galleries, ids, libraries, out, threads, signal, onProgress } = options;
  const indexes: IndexFiles['indexes'] = [];
  for (const { name, vectors } of galleries) {
    if (vectors.rows !== ids.length) throw new CairnError('internal', `${vectors.name} are ${vectors.rows} with ${ids.length} ids`);
    for (const library of libraries) {
      const file = `${galleries.length === 1 ? 'index' : name}.${library}`;
      const report = (done: number): void => onProgress?.({ what: `writing ${file}`, done, total: vectors.rows });
      const write = library === 'faiss' ? writeFlatIndex : writeGraphIndex;
      await wholeFile(join(out, file), (path) => write(path, vectors, { threads, signal, report }));
      indexes.push({ model: name, file, library, kind: indexLibraries[library], dim: vectors.dim });
    }
  }
  const names = { ids: 'ids.parquet' };
  const rows = (function* () {
    for (const id of ids) yield [id];
  })();
  await wholeFile(join(out, names.ids), (path) => parquet.write({ path, columns: { image_id: 'text' }, rows }, signal));
  return { manifest: { ids: names.ids, rows: ids.length, indexes }, names: [names.ids, ...indexes.map(({ file }) => file)] };
}

/** `manifest.json` of the index files of one feature set. */
export type IndexManifest = {
  kind: 'index';
  features: { path: string; origin: Origin };
  gallery: Gallery;
  indexFiles: IndexFiles;
  files: { name: string; bytes: number; sha256: string }[];
};

export type ExportIndexesOptions = Omit<WriteIndexesOptions, 'galleries' | 'ids'> & { /** The feature set. */ dir: string };

/** Writes the index files of one feature set, and `manifest.json` last. Throws as {@link readFeatures} and {@link writeIndexes}. */
export async function exportIndexes({ dir, ...options }: ExportIndexesOptions): Promise<IndexManifest> {
  const { parquet, out, signal } = options;
  const features = await readFeatures(dir, parquet, signal);
  const ids = sortIds(features.ids.table);
  const galleries = [{ name: 'model', vectors: placeFeatures(features, ids, `The feature set ${dir}`) }];
  const { manifest: indexFiles, names } = await writeIndexes({ ...options, galleries, ids });
  const manifest: IndexManifest = {
    kind: 'index',
    features: { path: dir, origin: assertOneOrigin(dir, await readOrigins([dir])) },
    gallery: galleryOf(ids),
    indexFiles,
    files: await Promise.all(names.map((name) => describeFile(out, name, signal))),
  };
  await writeWhole(join(out, manifestName), `${JSON.stringify(manifest, null, 2)}\n`);
  return manifest;
}

/** A written file, as a manifest lists it. */
export async function describeFile(out: string, name: string, signal?: AbortSignal) {
  const path = join(out, name);
  return { name, bytes: (await stat(path)).size, sha256: await sha256File(path, signal) };
}

type Means = { threads: number; signal: AbortSignal | undefined; report: (rows: number) => void };

/** The vectors block by block, in the order in which they are stored. */
async function* blocksOf(vectors: PlacedVectors, { signal, report }: Means) {
  for (let first = 0; first < vectors.rows; first += BLOCK_ROWS) {
    signal?.throwIfAborted();
    const values = await vectors.read(first, BLOCK_ROWS);
    yield { values, places: vectors.places.subarray(first, first + BLOCK_ROWS) };
    report(Math.min(vectors.rows, first + BLOCK_ROWS));
  }
}

/**
 * faiss' format of an IndexFlatIP (faiss/impl/index_write.cpp): a tag, the dimension (32 bits), the number of vectors, two unused numbers,
 * whether it is trained (one byte), the metric (32 bits; 0 is the inner product), the number of values, and these as float32. Vectors are
 * written where they belong as they are read, so memory does not grow with them.
 */
async function writeFlatIndex(path: string, vectors: PlacedVectors, means: Means): Promise<void> {
  const { dim } = vectors;
  const rows = BigInt(vectors.rowOfPlace.length);
  const header = Buffer.alloc(45);
  header.write('IxFI', 0, 'latin1');
  header.writeInt32LE(dim, 4);
  header.writeBigInt64LE(rows, 8);
  header.writeBigInt64LE(1n << 20n, 16);
  header.writeBigInt64LE(1n << 20n, 24);
  header.writeUInt8(1, 32);
  header.writeInt32LE(0, 33);
  header.writeBigUInt64LE(rows * BigInt(dim), 37);
  const file = await open(path, 'w');
  try {
    writeAll(file.fd, header, 0);
    for await (const { values, places } of blocksOf(vectors, means)) {
      for (let row = 0; row < places.length; ) {
        const place = places[row] as number;
        let next = row + 1;
        while (next < places.length && places[next] === place + next - row) next += 1;
        const run = values.subarray(row * dim, next * dim);
        writeAll(file.fd, new Uint8Array(run.buffer, run.byteOffset, run.byteLength), header.length + place * dim * 4);
        row = next;
      }
    }
  } finally {
    await file.close();
  }
}

/** Synchronous: a vector of its own, where features lie in another order, is then written in microseconds. */
function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, position + done);
}

/** usearch builds its graph in memory: 2 bytes a value and about 200 for the links of each vector. A key is a place. */
async function writeGraphIndex(path: string, vectors: PlacedVectors, means: Means): Promise<void> {
  // By require: its module for `import` finds its library by the file of a stack frame, which is not always its own.
  const { Index, MetricKind, ScalarKind }: typeof import('usearch') = createRequire(import.meta.url)('usearch');
  const index = new Index(vectors.dim, MetricKind.IP, ScalarKind.F16);
  for await (const { values, places } of blocksOf(vectors, means)) {
    index.add(BigUint64Array.from(places, BigInt), values, means.threads);
  }
  index.save(path);
}

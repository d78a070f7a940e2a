import { readdir, rm, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { assertOneOrigin, CairnError, manifestName, type Origin } from '@cairn/contract';
import { sha256File } from '@cairn/runtime';
import { type IdOrder, sortIds } from '../features/id-table.ts';
import { readFeatures, readOrigins } from '../features/read-features.ts';
import { wholeFile, writeWhole } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { type PlacedVectors, placeFeatures } from '../rerank/placed-features.ts';
import { type Means, writeFlatIndex, writeGraphIndex, writeMatrix, writtenType } from './index-writers.ts';
import { type Gallery, galleryOf } from './neighbours-file.ts';

/** What can be written, each for the libraries that read it, and what kind of index it is. */
export const indexLibraries = {
  /** Exact: all vectors in float32, compared by their inner product. */
  faiss: 'IndexFlatIP',
  /** Approximate: a graph (HNSW) over the vectors in float16. Its library searches it exactly too. */
  usearch: 'HNSW, inner product, float16',
  /** For NumPy, and what maps a file into memory. */
  npy: 'matrix',
  /** For LanceDB: the columns image_id and vector. Its own library writes it, by {@link WriteIndexesOptions.writeLance}. */
  lance: 'Lance dataset',
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
  /** Turns a matrix and the ids of its rows into a Lance dataset; required for `lance`. */
  writeLance?: ((given: { vectors: string; ids: string; out: string }) => Promise<void>) | undefined;
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

/**
 * Writes an index of each gallery for each library, such as `index.faiss`, with the model's name where there are several, and the
 * ids of their rows, `ids.parquet`. The vectors are the features, each in the row of its place, so equal scores are ordered as in a search.
 * Throws `bad_row`, `storage_full`.
 */
export async function writeIndexes(options: WriteIndexesOptions): Promise<{ manifest: IndexFiles; names: string[] }> {
  const { parquet, galleries, ids, libraries, out, threads, signal, onProgress, writeLance } = options;
  const names = { ids: 'ids.parquet' };
  const rows = (function* () {
    for (const id of ids) yield [id];
  })();
  await wholeFile(join(out, names.ids), (path) => parquet.write({ path, columns: { image_id: 'text' }, rows }, signal));
  const indexes: IndexFiles['indexes'] = [];
  for (const { name, vectors } of galleries) {
    if (vectors.rows !== ids.length) throw new CairnError('internal', `${vectors.name} are ${vectors.rows} with ${ids.length} ids`);
    for (const library of libraries) {
      const file = `${galleries.length === 1 ? 'index' : name}.${library}`;
      const report = (done: number): void => onProgress?.({ what: `writing ${file}`, done, total: vectors.rows });
      const means: Means = { threads, signal, report };
      if (library === 'lance') await lanceOf(vectors, { ids: join(out, names.ids), out: join(out, file), writeLance }, means);
      else await wholeFile(join(out, file), (path) => writers[library](path, vectors, means));
      const kind = library === 'npy' ? `${indexLibraries.npy} of ${writtenType(vectors)}` : indexLibraries[library];
      indexes.push({ model: name, file, library, kind, dim: vectors.dim });
    }
  }
  const files = await Promise.all(indexes.map(({ file, library }) => (library === 'lance' ? filesBelow(out, file) : [file])));
  return { manifest: { ids: names.ids, rows: ids.length, indexes }, names: [names.ids, ...files.flat()] };
}

const writers = { faiss: writeFlatIndex, usearch: writeGraphIndex, npy: writeMatrix } as const;

type LanceFiles = Pick<WriteIndexesOptions, 'writeLance' | 'out'> & { ids: string };

/** By way of a matrix, which its library maps into memory. */
async function lanceOf(vectors: PlacedVectors, { ids, out, writeLance }: LanceFiles, means: Means): Promise<void> {
  if (writeLance === undefined) throw new CairnError('internal', `${out} was requested without its writer`);
  const matrix = `${out}.vectors`;
  try {
    await wholeFile(matrix, (path) => writeMatrix(path, vectors, means));
    await writeLance({ vectors: matrix, ids, out });
  } finally {
    await rm(matrix, { force: true });
  }
}

/** The files of a folder by their names below `out`, sorted. */
async function filesBelow(out: string, folder: string): Promise<string[]> {
  const entries = await readdir(join(out, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(out, join(parentPath, name)))
    .sort();
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

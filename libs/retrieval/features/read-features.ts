import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CairnError,
  type FeatureFile,
  featureFolders,
  featureSetManifest,
  manifestName,
  type Origin,
  originOf,
  partFile,
  partOf,
} from '@cairn/contract';
import type { Parquet } from '../parquet/open-parquet.ts';
import { createIdTable, type IdTable, type TableIds, tableIds } from './id-table.ts';
import { type NpyHeader, readNpyHalf, readNpyHeader, readNpyRows } from './npy.ts';

export type FeaturePart = { part: number; path: string; header: NpyHeader; firstRow: number };

/** A feature set on disk: ids in memory, as bytes, and vectors read on demand. */
export type Features = {
  dir: string;
  dim: number;
  /** The image id of each row, over all parts in order; ids are unique. */
  ids: TableIds;
  parts: readonly FeaturePart[];
  /** Rows from `firstRow` on as float32, rows x dim; fewer than `count` at the end of the set. */
  read(firstRow: number, count: number): Promise<Float32Array<ArrayBuffer>>;
  /** Fills `into` with rows as the bits of float16; undefined where a part is float32. */
  readHalf?: ((firstRow: number, into: Uint16Array<ArrayBuffer>) => Promise<void>) | undefined;
};

/**
 * Opens a feature set: every part of `img_emb/` with the ids of the same part of `metadata/`, joined by position. Throws
 * `corrupt_artifact`, naming the file, if a part has only one of its files, shapes or counts differ, an id is duplicate, or a folder
 * contains anything else. The ids are added to `table`, which sets of the same images share.
 */
export async function readFeatures(
  dir: string,
  parquet: Parquet,
  signal?: AbortSignal,
  table: IdTable = createIdTable(),
): Promise<Features> {
  const partNumbers = await listParts(dir, 'embeddings');
  const withMetadata = new Set(await listParts(dir, 'metadata'));
  const alone = partNumbers.find((part) => !withMetadata.delete(part));
  if (alone !== undefined) throw corrupt(`${partFile('embeddings', alone)} exists without ${partFile('metadata', alone)}`, dir);
  for (const part of withMetadata) throw corrupt(`${partFile('metadata', part)} exists without ${partFile('embeddings', part)}`, dir);
  if (partNumbers.length === 0) throw corrupt(`${featureFolders.embeddings} has no parts`, dir);

  const parts: FeaturePart[] = [];
  let rows = 0;
  for (const part of partNumbers) {
    signal?.throwIfAborted();
    const path = join(dir, partFile('embeddings', part));
    const header = await readNpyHeader(path);
    const [first] = parts;
    if (first !== undefined && header.dim !== first.header.dim) {
      throw corrupt(`${path} has vectors of ${header.dim} values, ${first.path} of ${first.header.dim}`, dir);
    }
    parts.push({ part, path, header, firstRow: rows });
    rows += header.rows;
  }
  const numbers = new Int32Array(rows);
  for (const { part, path, header, firstRow } of parts) {
    signal?.throwIfAborted();
    let found = 0;
    const take = (id: string): void => {
      if (found < header.rows) numbers[firstRow + found] = table.add(id);
      found += 1;
    };
    const metadata = { path: join(dir, partFile('metadata', part)), sql: 'select image_id from read_parquet($path)' };
    await parquet.scan(metadata, (some) => some.text('image_id').forEach(take), signal);
    if (found !== header.rows) throw corrupt(`${path} has ${header.rows} rows, ${partFile('metadata', part)} ${found}`, dir);
  }
  const ids = tableIds(table, numbers);
  assertDistinct(ids, dir);
  const dim = parts[0]?.header.dim ?? 0;

  return {
    dir,
    dim,
    ids,
    parts,
    async read(firstRow, count) {
      const rows = new Float32Array(Math.max(0, Math.min(ids.length - firstRow, count)) * dim);
      await eachPart(firstRow, rows.length / dim, (path, header, row, from, to) => readNpyRows(path, header, row, rows.subarray(from, to)));
      return rows;
    },
    readHalf: parts.every(({ header }) => header.type === 'float16')
      ? (firstRow, into) =>
          eachPart(firstRow, into.length / dim, (path, header, row, from, to) => readNpyHalf(path, header, row, into.subarray(from, to)))
      : undefined,
  };

  /** Calls `read` for each part that has some of the rows, with its first row and the range of values to fill. */
  async function eachPart(
    firstRow: number,
    count: number,
    read: (path: string, header: NpyHeader, row: number, from: number, to: number) => Promise<void>,
  ): Promise<void> {
    for (const { path, header, firstRow: partStart } of parts) {
      const from = Math.max(firstRow, partStart);
      const to = Math.min(firstRow + count, partStart + header.rows);
      if (from < to) await read(path, header, from - partStart, (from - firstRow) * dim, (to - firstRow) * dim);
    }
  }
}

/**
 * The image id of each row of a feature set, as {@link readFeatures} has them, without its vectors. Throws `corrupt_artifact` for a set
 * without ids, for another file among them, and for an id that is duplicate.
 */
export async function readFeatureIds(
  dir: string,
  parquet: Parquet,
  signal?: AbortSignal,
  table: IdTable = createIdTable(),
): Promise<TableIds> {
  const parts = await listParts(dir, 'metadata');
  if (parts.length === 0) throw corrupt(`${featureFolders.metadata} has no parts`, dir);
  const numbers: number[] = [];
  const take = (id: string): void => void numbers.push(table.add(id));
  for (const part of parts) {
    const metadata = { path: join(dir, partFile('metadata', part)), sql: 'select image_id from read_parquet($path)' };
    await parquet.scan(metadata, (some) => some.text('image_id').forEach(take), signal);
  }
  const ids = tableIds(table, Int32Array.from(numbers));
  assertDistinct(ids, dir);
  return ids;
}

async function listParts(dir: string, kind: FeatureFile): Promise<number[]> {
  const folder = join(dir, featureFolders[kind]);
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new CairnError('corrupt_artifact', `The feature set ${dir} has no folder ${featureFolders[kind]}`, { cause });
  });
  const parts = names.map((name) => {
    const part = partOf(kind, name);
    if (part === null) throw corrupt(`${featureFolders[kind]} contains ${name}, which is not part of a feature set`, dir);
    return part;
  });
  return parts.sort((a, b) => a - b);
}

function assertDistinct({ table, numbers }: TableIds, dir: string): void {
  const seen = new Uint8Array(table.length);
  const twice = new Set<number>();
  for (const number of numbers) {
    if (seen[number] === 1) twice.add(number);
    seen[number] = 1;
  }
  if (twice.size === 0) return;
  const examples = [...twice].slice(0, 5).map((number) => table.at(number));
  throw new CairnError('corrupt_artifact', `The feature set ${dir} has ${twice.size} ids more than once, such as ${examples.join(', ')}`, {
    details: { twice: twice.size, examples },
  });
}

function corrupt(what: string, dir: string): CairnError {
  return new CairnError('corrupt_artifact', `The feature set ${dir} is incomplete: ${what}. Extract it again.`);
}

/** The origin of each feature set, for `assertOneOrigin`. */
export function readOrigins(folders: readonly string[]): Promise<{ set: string; origin: Origin }[]> {
  return Promise.all(folders.map(async (set) => ({ set, origin: await readOrigin(set) })));
}

/** Reads `details` of the set's `manifest.json`. A set without one, such as an imported one, has no known origin. Throws `corrupt_artifact`. */
async function readOrigin(dir: string): Promise<Origin> {
  const path = join(dir, manifestName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return originOf(null);
    throw error;
  }
  try {
    return originOf(featureSetManifest.parse(JSON.parse(text)).details);
  } catch (cause) {
    throw new CairnError('corrupt_artifact', `${path} is not the manifest of a feature set. Extract it again.`, { cause });
  }
}

import { mkdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inParallel } from '@cairn/runtime';
import { count, type Database, literal, openDatabase, pathLiteral } from '../duckdb.ts';
import { createFileGate, type FileGate } from '../file-gate.ts';
import { below, type ImageSplit, writingUnder } from '../folders.ts';
import { indexTar, type TarIndex, tarsOfSplit } from './index-tars.ts';

export type WriteTarIndexOptions = {
  /** The folder of the tars: train/, index/ and test/ with images_NNN.tar, and md5sum/. */
  root: string;
  splits: readonly ImageSplit[];
  /** For an address: how its storage is reached. */
  places?: readonly string[] | null;
  out: string;
  /** Whether to compute the md5 of all bytes, and compare it if there is an md5 file. */
  withMd5: boolean;
  onProgress?: (progress: { done: number; total: number; tar: string; wasKnown: boolean }) => void;
  signal?: AbortSignal;
};

/** index.json: `wasKnown` counts the tars that an earlier run had indexed; `repeated` the duplicate image ids of a split. */
export type WrittenTarIndex = {
  format: 'cairn-tars';
  version: 1;
  splits: Partial<Record<ImageSplit, { path: string; images: number; repeated: number; wasKnown: number; tars: IndexedTar[] }>>;
};

/** Tars read in parallel: reading headers waits for the disk, especially for a network disk. */
const tarsAtATime = 4;

/**
 * Writes the location of each image in the tars: `out/SPLIT.parquet` with image_id, tar (relative to the root), offset and size, ordered by
 * tar and offset; and `out/index.json`. Each tar's part is kept in `out/parts`, so a rerun after an interruption or with additional tars
 * reads only new ones.
 *
 * @throws CairnError `missing_file`, `corrupt_tar`, `storage_full`; the signal's reason.
 */
export async function writeTarIndex(options: WriteTarIndexOptions): Promise<WrittenTarIndex> {
  const { root, splits, out, signal } = options;
  // It runs as a command, with the permissions of its user.
  const gate = await createFileGate(options.places ?? null);
  const tarsOf = new Map<ImageSplit, string[]>();
  for (const split of splits) tarsOf.set(split, await tarsOfSplit(root, split, gate));
  const total = [...tarsOf.values()].flat().length;
  const database = await openDatabase({ memoryLimitMiB: 256, threads: 1, ...(signal ? { signal } : {}) });
  try {
    return await writingUnder(
      out,
      async () => {
        const written: WrittenTarIndex = { format: 'cairn-tars', version: 1, splits: {} };
        let done = 0;
        const inTurn = createTurns();
        for (const [split, tars] of tarsOf) {
          await mkdir(join(out, 'parts', split), { recursive: true });
          const entries = new Map<string, { entry: IndexedTar; wasKnown: boolean }>();
          await inParallel(tars.values(), tarsAtATime, async (tar) => {
            const found = await indexOnce(database, tar, options, gate, inTurn);
            entries.set(tar, found);
            options.onProgress?.({ done: ++done, total, tar, wasKnown: found.wasKnown });
          });
          const found = tars.flatMap((tar) => entries.get(tar) ?? []);
          written.splits[split] = {
            ...(await joinParts(database, out, split, tars)),
            wasKnown: found.filter(({ wasKnown }) => wasKnown).length,
            tars: found.map(({ entry }) => entry),
          };
        }
        await writeWhole(join(out, 'index.json'), `${JSON.stringify(written, null, 2)}\n`);
        return written;
      },
      signal,
    );
  } finally {
    database.close();
  }
}

type InTurn = (work: () => Promise<void>) => Promise<void>;

/** Runs operations one after another: a database connection handles one statement at a time. */
function createTurns(): InTurn {
  let last: Promise<void> = Promise.resolve();
  return (work) => {
    const mine = last.then(work);
    last = mine.catch(() => undefined);
    return mine;
  };
}

/** The known index of a tar, or a new one. The entry is written last: with it, the part is complete. */
async function indexOnce(
  database: Database,
  tar: string,
  { root, out, withMd5, signal }: WriteTarIndexOptions,
  gate: FileGate,
  inTurn: InTurn,
): Promise<{ entry: IndexedTar; wasKnown: boolean }> {
  const known = await knownTar(out, root, tar, gate);
  if (known !== null && (known.md5 !== null || !withMd5)) return { entry: known, wasKnown: true };
  const { members, ...rest } = await indexTar(root, tar, { withMd5, gate, signal });
  await inTurn(() => writePart(database, partOf(out, tar), tar, members));
  const entry: IndexedTar = { ...rest, images: members.length };
  await writeWhole(entryOf(out, tar), JSON.stringify(entry));
  return { entry, wasKnown: false };
}

async function writePart(database: Database, path: string, tar: string, members: TarIndex['members']): Promise<void> {
  const table = `part_${tar.replaceAll(/\W/g, '_')}`;
  await database.run(`create table ${table} (image_id varchar, "offset" bigint, size bigint)`);
  await database.append(
    table,
    members.map(({ imageId, offset, size }) => [imageId, offset, size]),
  );
  const unfinished = `${path}.unfinished`;
  const rows = `select image_id, ${literal(tar)} as tar, "offset", size from ${table}`;
  await database.run(`copy (${rows}) to ${literal(unfinished)} (format parquet, compression zstd)`);
  await database.run(`drop table ${table}`);
  await rename(unfinished, path);
}

async function joinParts(
  database: Database,
  out: string,
  split: ImageSplit,
  tars: readonly string[],
): Promise<{ path: string; images: number; repeated: number }> {
  const path = `${split}.parquet`;
  const unfinished = join(out, `${path}.unfinished`);
  // The tars are ordered by name, and each part by offset.
  const parts = `read_parquet([${tars.map((tar) => pathLiteral(partOf(out, tar))).join(', ')}])`;
  await database.run(
    `copy (select image_id, tar, "offset", size from ${parts}) to ${literal(unfinished)} (format parquet, compression zstd)`,
  );
  await rename(unfinished, join(out, path));
  const [counts] = await database.rows(
    `select count(*) as images, count(*) - count(distinct image_id) as repeated from read_parquet(${pathLiteral(join(out, path))})`,
  );
  return { path, images: count(counts?.images), repeated: count(counts?.repeated) };
}

async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.unfinished`, text);
  await rename(`${path}.unfinished`, path);
}

/** A tar when it was indexed. It is indexed again if its size or modification time differs. */
export type IndexedTar = {
  tar: string;
  bytes: number;
  changedAtMs: number;
  md5: string | null;
  md5Checked: boolean;
  images: number;
  /** Files in it that are not images. */
  others: number;
  /** Entries with names of images that are not indexed ({@link ScannedTar}). */
  unindexed: number;
};

/** The default location of the index of a folder of tars. */
export const tarIndexFolder = (root: string): string => below(root, 'tars-index');

/** The index of one tar: the Parquet file of its images (image_id, tar, offset, size), and its entry, which is written last. */
export const partOf = (index: string, tar: string): string => below(index, 'parts', tar.replace(/\.tar$/, '.parquet'));
export const entryOf = (index: string, tar: string): string => below(index, 'parts', tar.replace(/\.tar$/, '.json'));

/** An entry is a few hundred bytes. */
const mostEntryBytes = 64 * 1024;

/** The indexed entry of an unchanged tar (relative to `root`); null if the tar must be read. */
export async function knownTar(index: string, root: string, tar: string, gate: FileGate): Promise<IndexedTar | null> {
  const known = await readEntry(entryOf(index, tar), gate);
  if (known?.tar !== tar) return null;
  const { bytes, changedAtMs } = await stateOf(below(root, tar), gate);
  if (known.bytes !== bytes || known.changedAtMs !== changedAtMs) return null;
  return (await gate.isFile(partOf(index, tar))) ? known : null;
}

async function stateOf(path: string, gate: FileGate): Promise<{ bytes: number; changedAtMs: number }> {
  const remote = await gate.sourceOf(path);
  if (remote === null) {
    const { size, mtimeMs } = await stat(await gate.realPath(path));
    return { bytes: size, changedAtMs: mtimeMs };
  }
  const found = await remote.source.head(remote.path);
  return { bytes: found?.bytes ?? 0, changedAtMs: found?.changedMs ?? 0 };
}

async function readEntry(path: string, gate: FileGate): Promise<IndexedTar | null> {
  try {
    const file = await gate.open(path);
    try {
      if ((await file.stat()).size > mostEntryBytes) return null;
      const value: unknown = JSON.parse(await file.readFile('utf8'));
      return isIndexedTar(value) ? value : null;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && 'code' in error && error.code === 'ENOENT')) return null;
    throw error;
  }
}

function isIndexedTar(value: unknown): value is IndexedTar {
  if (typeof value !== 'object' || value === null || !('tar' in value) || !('md5' in value)) return false;
  const numbers: Record<string, unknown> = { ...value };
  return (
    typeof value.tar === 'string' &&
    ['bytes', 'changedAtMs', 'images', 'others', 'unindexed'].every((name) => typeof numbers[name] === 'number')
  );
}

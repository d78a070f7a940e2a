import { type FileHandle, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, type CategoryQuotes, isDatasetUrl, type ListName } from '@cairn/contract';
import { inParallel } from '@cairn/runtime';
import { changedMsOf, fileDigest, folderDigest, remoteDigest, unlistedDigest } from '../digests.ts';
import { count, type Database, literal, pathLiteral } from '../duckdb.ts';
import { type FileGate, fdPath } from '../file-gate.ts';
import { below, type ImageSplit, imageIdPattern, imageSplits, memberPath } from '../folders.ts';
import type { MetadataFileKey } from '../metadata/files.ts';
import { continentOfCountry, readCountries, type TakenCountries } from '../metadata/read-countries.ts';
import { onceSettled } from '../sources/once-settled.ts';
import { indexTar, listedMd5, tarsOfSplit } from '../tars/index-tars.ts';
import { blockBytes } from '../tars/scan-tar.ts';
import { knownTar, partOf, tarIndexFolder } from '../tars/write-tar-index.ts';
import type { TarIndexEntry } from './manifest.ts';

/** The splits with the images of each list. */
const splitsOf: Record<ListName, readonly ImageSplit[]> = {
  clean: ['train'],
  c2x: ['train'],
  full: ['train'],
  index_train: ['train', 'index'],
  test: ['index'],
  all: ['train', 'index', 'test'],
  query: ['test'],
  index: ['index'],
  index_expand: ['index'],
};

/** The splits with the images of the lists. */
export function splitsNeeded(lists: readonly ListName[]): ImageSplit[] {
  return imageSplits.filter((split) => lists.some((list) => splitsOf[list].includes(split)));
}

/**
 * Indexes the tars of the splits, as the tables tar_place and file_now and as `tars/SPLIT.parquet` under `root`.
 * Results of `cairn tars index` next to the tars are reused if they have the tar's md5 and the tar is unchanged.
 *
 * @throws CairnError as {@link readTars} does
 */
export async function loadTars(
  database: Database,
  tarRoot: string,
  splits: readonly ImageSplit[],
  root: string,
  how: ReadTarOptions,
): Promise<{ entries: Partial<Record<ImageSplit, TarIndexEntry>>; digests: Record<string, string> }> {
  const { tars, digests } = await readTars(database, tarRoot, splits, how);
  await mkdir(join(root, 'tars'));
  const entries: Partial<Record<ImageSplit, TarIndexEntry>> = {};
  for (const split of splits) {
    const path = `tars/${split}.parquet`;
    const rows = `select image_id, tar, "offset", size from tar_member join file_now using (tar_number) where split = ${literal(split)} order by tar_number, "offset"`;
    await database.run(`copy (${rows}) to ${literal(join(root, path))} (format parquet, compression zstd)`);
    entries[split] = { path, ...(await fileDigest(join(root, path), how.signal)), tars: tars[split] ?? [] };
  }
  // For a duplicate image the last one counts, as when unpacking a tar.
  await database.run(
    `create table tar_place as select split, image_id, arg_max({tar: tar, "offset": "offset", size: size}, ${placeKey}) as place
     from tar_member join file_now using (tar_number) group by split, image_id`,
  );
  return { entries, digests };
}

/** A place in a tar as one number, ordered by tar and offset: the tar's number, and below it 44 bits (16 TiB) of the offset. */
export const placeKey = '((tar_number::bigint << 44) | "offset")';
export const tarOfPlace = (key: string): string => `(${key} >> 44)::integer`;
export const offsetOfPlace = (key: string): string => `(${key} & ${2 ** 44 - 1})`;

/**
 * Indexes the tars of the splits, as the tables file_now, which numbers the tars in the order of their names, and tar_member.
 *
 * @throws CairnError `missing_file`, `corrupt_tar`, `dataset_changed` for a tar that changes during the read; the signal's reason
 */
export async function readTars(
  database: Database,
  tarRoot: string,
  splits: readonly ImageSplit[],
  how: ReadTarOptions,
): Promise<{ tars: Partial<Record<ImageSplit, TarIndexEntry['tars']>>; digests: Record<string, string> }> {
  await database.run('create table tar_member (tar_number integer, image_id varchar, "offset" bigint, size bigint)');
  await database.run('create table file_now (tar_number integer, split varchar, tar varchar, file_bytes bigint, file_changed_ms bigint)');
  const names = new Map<ImageSplit, string[]>();
  for (const split of splits) names.set(split, await tarsOfSplit(tarRoot, split, how.gate));
  const numberOf = new Map(
    [...names.values()]
      .flat()
      .sort()
      .map((tar, number) => [tar, number]),
  );
  const tars: Partial<Record<ImageSplit, TarIndexEntry['tars']>> = {};
  const digests: Record<string, string> = {};
  const read: (Pick<ReadTar, 'changedMs' | 'etag'> & { tar: string })[] = [];
  for (const [split, ofSplit] of names) {
    const entries: TarIndexEntry['tars'] = [];
    tars[split] = entries;
    // The database does one statement at a time.
    let turn: Promise<unknown> = Promise.resolve();
    let parts: TarPart[] = [];
    const flush = async (): Promise<void> => {
      const taken = parts;
      parts = [];
      await insertParts(database, taken).finally(() => Promise.all(taken.map(({ file }) => file.close())));
    };
    await inParallel(ofSplit.entries(), isDatasetUrl(tarRoot) ? remoteTarsAtATime : 1, async ([at, tar]) => {
      const number = numberOf.get(tar) ?? 0;
      const { entry, changedMs, etag, digest, members } = await readTar(tarRoot, tar, number, how);
      read.push({ tar, changedMs, etag });
      turn = turn.then(async () => {
        if ('part' in members) parts.push(members.part);
        else await database.append('tar_member', members.rows);
        if (parts.length >= partsAtATime) await flush();
        await database.append('file_now', [[number, split, tar, entry.bytes, changedMs]]);
      });
      await turn;
      entries[at] = entry;
      digests[tar] = digest;
    }).finally(async () => {
      await turn.catch(() => undefined);
      await flush();
    });
  }
  if (isDatasetUrl(tarRoot)) {
    const newestMs = read.reduce((newest, { changedMs }) => Math.max(newest, changedMs), 0);
    await onceSettled({ newestMs, seenAt: performance.now() }, () => requireTars(tarRoot, read, how), how.signal);
  }
  return { tars, digests };
}

/** @throws CairnError `dataset_changed` naming a tar that is another one than was read */
async function requireTars(
  root: string,
  read: readonly { tar: string; etag: string | null }[],
  { gate, signal }: ReadTarOptions,
): Promise<void> {
  await inParallel(read.values(), headsAtATime, async ({ tar, etag }) => {
    const address = below(root, tar);
    const remote = await gate.sourceOf(address);
    const now = await remote?.source.head(remote.path, signal);
    if (etag !== null && now?.etag !== etag) throw changedMeanwhile(address);
  });
}

const headsAtATime = 16;

const changedMeanwhile = (place: string): CairnError =>
  new CairnError('dataset_changed', `${place} has changed while it was read`, { details: { file: place } });

/** Tars of a source that are read at a time, each once, from its first to its last byte. */
const remoteTarsAtATime = 4;

/** The index of a tar that was known: a Parquet file next to the tars, whose writer need not be `cairn`. */
type TarPart = { number: number; tar: string; bytes: number; images: number; path: string; file: FileHandle };
/** Read in one statement: one for each takes twice as long. */
const partsAtATime = 64;

/**
 * Adds the images of these indexes.
 *
 * @throws CairnError `corrupt_tar` naming the first that is not an index of its tar
 */
async function insertParts(database: Database, parts: readonly TarPart[]): Promise<void> {
  const [first] = parts;
  if (first === undefined) return;
  const files = `[${parts.map(({ file }) => pathLiteral(fdPath(file))).join(', ')}]`;
  const ofPart = (values: readonly number[]): string => `[${values.join(', ')}][file_index::bigint + 1]`;
  try {
    // Before they are read: a few bytes of Parquet can have billions of rows. Each image has a header.
    const heads = await database.rows(`select file_name, num_rows from parquet_file_metadata(${files})`);
    const rowsOf = new Map(heads.map(({ file_name, num_rows }) => [file_name, count(num_rows)]));
    const wrong = parts.find(({ file, images, bytes }) => rowsOf.get(fdPath(file)) !== images || images * blockBytes > bytes);
    if (wrong !== undefined) throw notAnIndex(wrong);
    const end = ofPart(parts.map(({ bytes }) => bytes));
    const isImage = `regexp_full_match(image_id, ${literal(imageIdPattern.source)}) and "offset" > 0 and size >= 0 and "offset" + size <= ${end}`;
    const [found] = await database.rows(`select min(file_index) as bad from read_parquet(${files}) where (${isImage}) is not true`);
    if (found?.bad != null) throw notAnIndex(parts[count(found.bad)] ?? first);
    const number = ofPart(parts.map((part) => part.number));
    await database.run(`insert into tar_member select ${number}, image_id, "offset", size from read_parquet(${files})`);
  } catch (error) {
    if (!(error instanceof Error && unreadableParquet.test(error.message))) throw error;
    // Without the cause, whose message may quote the file.
    if (parts.length === 1) throw notAnIndex(first);
    for (const part of parts) await insertParts(database, [part]);
  }
}

/** The kinds of DuckDB's errors about the content of a file, and not about the machine. */
const unreadableParquet = /^(Invalid Input|Binder|Conversion|Parquet|Serialization|Mismatch Type|Invalid) Error/;

const notAnIndex = ({ path, tar }: TarPart): CairnError =>
  new CairnError('corrupt_tar', `${path} is not an index of ${tar}: remove it, or write it again with \`cairn tars index\``, {
    details: { file: path },
  });

/** Without `withMd5` only the headers of tars of this machine are read. */
type ReadTarOptions = { gate: FileGate; signal?: AbortSignal | undefined; withMd5?: boolean };

type ReadTar = {
  entry: TarIndexEntry['tars'][number];
  changedMs: number;
  /** Of a tar in a source that was read; null for others. */
  etag: string | null;
  /** As registered: its md5, or what object storage reports for it. */
  digest: string;
  /** Its images: an open index of them, or the rows of the table tar_member. */
  members: { part: TarPart } | { rows: Iterable<[number, string, number, number]> };
};

/** Throws as `indexTar` does. */
async function readTar(root: string, tar: string, number: number, { gate, signal, withMd5 = true }: ReadTarOptions): Promise<ReadTar> {
  const index = tarIndexFolder(root);
  const known = await knownTar(index, root, tar, gate);
  const listed = await listedMd5(root, tar, gate);
  const isKnown = known !== null && (known.md5 !== null || !withMd5) && (listed === null || (known.md5 ?? listed) === listed);
  if (isKnown) {
    const { bytes, images, unindexed, changedAtMs } = known;
    const md5 = known.md5 ?? '';
    return {
      entry: { tar, bytes, md5, md5Checked: listed !== null, images, unindexed },
      changedMs: changedMsOf({ mtimeMs: changedAtMs }),
      etag: null,
      digest: listed ?? (await unlistedDigest(root, tar, { gate, signal, md5 })),
      members: { part: { number, tar, bytes, images, path: partOf(index, tar), file: await gate.open(partOf(index, tar)) } },
    };
  }
  const found = await indexTar(root, tar, { withMd5, gate, signal });
  const { members, bytes, md5, md5Checked, unindexed, changedAtMs, etag } = found;
  const changedMs = changedMsOf({ mtimeMs: changedAtMs });
  return {
    entry: { tar, bytes, md5: md5 ?? '', md5Checked, images: members.length, unindexed },
    changedMs,
    etag: etag ?? null,
    digest: md5Checked || etag === undefined ? (md5 ?? '') : remoteDigest({ bytes, changedMs, etag }),
    members: { rows: members.map((member) => [number, member.imageId, member.offset, member.size]) },
  };
}

/**
 * Lists the images of the splits, as the table image_now: their sizes and modification times. Returns the digest of
 * each split's listing, computed as for registration.
 *
 * @throws CairnError as {@link folderDigest} does, `storage_failed` for a split that lost all its files; the system's error; the signal's reason
 */
export async function loadImageFiles(
  database: Database,
  imageRoot: string,
  splits: readonly ImageSplit[],
  { gate, signal }: { gate: FileGate; signal?: AbortSignal | undefined },
): Promise<Record<string, string>> {
  await database.run('create table image_now (split varchar, image_id varchar, file_bytes bigint, file_changed_ms bigint)');
  const digests: Record<string, string> = {};
  let newestMs = 0;
  for (const split of splits) {
    let rows: [string, string, number, number][] = [];
    const flush = async (): Promise<void> => {
      await database.append('image_now', rows);
      rows = [];
    };
    const { digest, files } = await folderDigest(below(imageRoot, split), {
      gate,
      signal,
      onFiles: async (listed) => {
        for (const { path, bytes, changedMs } of listed) {
          const id = path.slice(path.lastIndexOf('/') + 1, -'.jpg'.length);
          if (path === memberPath(id)) rows.push([split, id, bytes, changedMs]);
          newestMs = Math.max(newestMs, changedMs);
        }
        if (rows.length >= rowsAtATime) await flush();
      },
    });
    await flush();
    // Registration rejects empty splits, so a file system is not mounted.
    if (files === 0) throw new CairnError('storage_failed', `${below(imageRoot, split)} has no files any more: mount or restore it`);
    digests[split] = digest;
  }
  const requireListing = async (): Promise<void> => {
    for (const split of splits) {
      const { digest } = await folderDigest(below(imageRoot, split), { gate, signal });
      if (digest !== digests[split]) throw changedMeanwhile(below(imageRoot, split));
    }
  };
  if (isDatasetUrl(imageRoot)) await onceSettled({ newestMs, seenAt: performance.now() }, requireListing, signal);
  return digests;
}

const rowsAtATime = 20_000;

/** The table label_country if there are no countries. */
export async function noCountries(database: Database): Promise<void> {
  await database.run('create table label_country (gid integer, country varchar, continent varchar)');
}

/**
 * Gives every label of a known category its country and continent (the table label_country). Without the category files there is nothing to join: the table stays empty.
 */
export async function loadCountries(
  database: Database,
  taken: TakenCountries,
  loaded: ReadonlySet<MetadataFileKey>,
  quotes: CategoryQuotes,
  signal?: AbortSignal,
): Promise<void> {
  const countries = await readCountries(taken, quotes, signal);
  const rows = [...countries.countryOf].map(([category, country]) => [category, country, continentOfCountry(countries, country)] as const);
  if (rows.length === 0 || !loaded.has('trainClean') || !loaded.has('trainCategory')) {
    await noCountries(database);
    return;
  }
  await database.run('create table category_country (category varchar, country varchar, continent varchar)');
  await database.append('category_country', rows);
  // Millions of rows share a few names.
  for (const name of ['country', 'continent']) {
    await database.run(`create type ${name}_name as enum (select coalesce(${name}, '') from category_country group by all order by all)`);
  }
  await database.run(
    `create table label_country as
     select l.gid, c.country::country_name as country, c.continent::continent_name as continent
     from label_category l join category_country c using (category)`,
  );
}

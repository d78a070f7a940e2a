import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { CategoryQuotes, ListName } from '@cairn/contract';
import { allEnded } from '../all-ended.ts';
import type { FileDigest } from '../digests.ts';
import { fileDigest } from '../digests.ts';
import type { Database } from '../duckdb.ts';
import { count, openDatabase } from '../duckdb.ts';
import type { FoundFile } from '../metadata/find-metadata.ts';
import { findMetadata } from '../metadata/find-metadata.ts';
import { loadMetadata } from '../metadata/load-metadata.ts';
import { refuseTaken, requireFolder } from '../require-folder.ts';
import { makingBeside } from '../writing-under.ts';
import { classesOfList, defineLists, makeListTables } from './definitions.ts';
import { checkImportedList, findImportedLists, importedClasses, importedFolder, importedTable } from './imported-lists.ts';
import { loadCountries, noCountries } from './load-countries.ts';
import { loadTars } from './load-tars.ts';
import { makeRowTable } from './make-row-table.ts';
import type { ImageRoot, ListsManifest } from './manifest.ts';
import { listsManifestName } from './manifest.ts';
import { writeGroundTruth } from './write-ground-truth.ts';
import { writeList } from './write-list.ts';

export type PrepareListsOptions = {
  /** Folder of the CSV files, flat as downloaded or parted into train/, index/ and test/. */
  metadata: string;
  /** Folder with country_codes.json, a CODE.json for each, continent_codes.csv; without it country and continent are null. */
  countries?: string | undefined;
  images: ImageRoot;
  lists: readonly ListName[];
  /** Seed of the sample in the list `test`. */
  testSeed: number;
  /** How quoted categories are read; `reference` unless given. */
  categoryQuotes?: CategoryQuotes;
  /** Whether to write each list as CSV too. */
  withText?: boolean;
  /** The folder to make; it must not exist or be empty. */
  out: string;
  /** Most memory the SQL may take, in MiB (512); what does not fit goes to disk beside `out`. */
  memoryLimitMiB?: number;
  threads?: number;
  signal?: AbortSignal;
};

/** GLDv2's lists take twice as much at their peak, in all; more memory makes them a tenth faster. */
const defaultMemoryMiB = 512;

/**
 * Makes the lists of a collection in GLDv2's format, or takes those that lie ready in its folder `imported/lists`: `out/lists/NAME.parquet` with the columns image_id, path (relative to the
 * image root), label (int32), noisy (0 or 1), country, continent (nullable), image_number (int32, from 0, of the distinct image
 * in order of first appearance), for tars also tar, offset, size; with `withText` also `out/lists/NAME.csv`; with the list `query` also `out/lists/ground_truth.parquet`
 * (query_id, image_id, usage: scored queries only); for tars `out/tars/SPLIT.parquet`; and `out/manifest.json`, which is returned. Everything is written beside `out` and renamed.
 *
 * @throws CairnError `missing_file`, `missing_column`, `bad_row`, `corrupt_tar`, `name_taken`, `storage_full`; the signal's reason.
 */
export async function prepareLists(options: PrepareListsOptions): Promise<ListsManifest> {
  const out = resolve(options.out);
  const lists = [...new Set(options.lists)];
  await refuseTaken(out, 'the lists');
  await requireFolder('The folder of the CSV files', options.metadata);
  if (options.countries !== undefined) await requireFolder('The folder of the countries', options.countries);
  const imported = await findImportedLists(options.metadata, lists);
  const made = lists.filter((list) => !imported.has(list));
  const found = await findMetadata(options.metadata, { lists: made, withCountries: options.countries !== undefined }, options.signal);
  return makingBeside(
    out,
    async (making) => {
      const manifest = await fill(making, { lists, imported, found }, options);
      await rename(making, out);
      return manifest;
    },
    options.signal,
  );
}

async function fill(
  root: string,
  {
    lists,
    imported,
    found,
  }: { lists: readonly ListName[]; imported: ReadonlyMap<ListName, string>; found: Map<FoundFile['key'], FoundFile> },
  options: PrepareListsOptions,
): Promise<ListsManifest> {
  const {
    images,
    countries,
    testSeed,
    categoryQuotes = 'reference',
    withText = false,
    signal,
    memoryLimitMiB = defaultMemoryMiB,
    threads,
  } = options;
  const hasTars = images.kind === 'tars';
  const work = join(root, 'work');
  await mkdir(work);
  await mkdir(join(root, 'lists'));
  const database = await openDatabase({
    folder: work,
    memoryLimitMiB,
    ...(threads === undefined ? {} : { threads }),
    ...(signal ? { signal } : {}),
  });
  try {
    const [rows, digests] = await allEnded([
      loadMetadata(database, found, { folder: work, categoryQuotes }, signal),
      digestsOf(found, signal),
    ]);
    const inputs: ListsManifest['inputs'] = {};
    for (const [key, digest] of digests) inputs[basename(found.get(key)?.path ?? key)] = { ...digest, rows: count(rows.get(key)) };
    for (const [list, path] of imported) {
      await checkImportedList(database, path);
      inputs[`${importedFolder}/${list}.parquet`] = { ...(await fileDigest(path, signal)), rows: null };
    }
    const loaded = new Set(rows.keys());
    const { labelled } = await makeListTables(database, loaded);
    if (countries === undefined) await noCountries(database);
    else Object.assign(inputs, await loadCountries(database, countries, loaded, categoryQuotes, signal));
    const tars = hasTars ? await loadTars(database, images.root, lists, root, signal) : null;
    const manifest: ListsManifest = {
      format: 'cairn-lists',
      version: 1,
      lists: {},
      groundTruth: null,
      tars,
      source: images.kind,
      testSeed,
      categoryQuotes,
      inputs,
    };
    const definitions = defineLists(
      lists.filter((list) => !imported.has(list)),
      { seed: testSeed, cleanLandmarks: rows.get('trainClean') ?? 0 },
    );
    for (const [list, path] of imported) definitions.set(list, { table: importedTable(list, path), blocks: 1 });
    // The largest first: afterwards memory is free for the others.
    const tables = new Map([...definitions.values()].map(({ table }) => [table.name, table]));
    for (const table of [...tables.values()].toSorted((a, b) => b.blocks.length - a.blocks.length)) {
      await makeRowTable(database, table, hasTars);
      for (const [list, definition] of definitions) {
        if (definition.table.name !== table.name) continue;
        const given = imported.get(list);
        const classes = given === undefined ? classesOfList(list, labelled) : importedClasses(given);
        manifest.lists[list] = await writeList(database, { list, definition, classes, root, hasTars, withText }, signal);
      }
      await database.run(`drop table ${table.name}`);
    }
    manifest.lists = Object.fromEntries(lists.map((list) => [list, manifest.lists[list]]));
    if (lists.includes('query')) manifest.groundTruth = await writeGroundTruth(database, root, loaded.has('index'), signal);
    await closeAndRemove(database, work);
    await writeFile(join(root, listsManifestName), `${JSON.stringify(manifest, null, 2)}\n`);
    return manifest;
  } catch (error) {
    await closeAndRemove(database, work);
    throw error;
  }
}

async function closeAndRemove(database: Database, work: string): Promise<void> {
  database.close();
  await rm(work, { recursive: true, force: true });
}

async function digestsOf(
  found: ReadonlyMap<FoundFile['key'], FoundFile>,
  signal?: AbortSignal,
): Promise<Map<FoundFile['key'], FileDigest>> {
  const digests = new Map<FoundFile['key'], FileDigest>();
  for (const [key, { path }] of found) digests.set(key, await fileDigest(path, signal));
  return digests;
}

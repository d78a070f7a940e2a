import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { CategoryQuotes, DatasetFiles, ListName } from '@cairn/contract';
import { fileDigest } from '../digests.ts';
import { count, type Database, literal, openDatabase, pathLiteral } from '../duckdb.ts';
import { createFileGate, type FileGate } from '../file-gate.ts';
import { makingBeside, refuseTaken, requireFolder } from '../folders.ts';
import { loadMetadata } from '../metadata/load-metadata.ts';
import { type TakenMetadata, takeInMetadata } from '../metadata/take-in.ts';
import { requireRegisteredImages, requireRegisteredMetadata } from '../registered-files.ts';
import { classesOfList, defineLists, makeListTables } from './definitions.ts';
import { checkImportedList, importedClasses, importedTable } from './imported-lists.ts';
import { loadCountries, loadImageFiles, loadTars, noCountries, splitsNeeded } from './load-tables.ts';
import { type GroundTruthEntry, type ImageRoot, type ListsManifest, listsManifestName } from './manifest.ts';
import { makeRowTable, parquet, writeList } from './write-list.ts';

export type PrepareListsOptions = {
  /** Folder of the CSV files, flat as downloaded or split into train/, index/ and test/. */
  metadata: string;
  /** Folder with country_codes.json, a CODE.json for each, continent_codes.csv; without it country and continent are null. */
  countries?: string | undefined;
  images: ImageRoot;
  /**
   * The files as registered: they are compared with it when they are read, and the lists get the size and time of each image's file, so
   * that later readers can detect changes. Without it nothing is compared.
   */
  registered?: DatasetFiles;
  /** The folders that may contain its files; by default any that this process can read. */
  roots?: readonly string[];
  lists: readonly ListName[];
  /** Seed of the sample in the list `test`. */
  testSeed: number;
  /** How quoted categories are read; `reference` unless given. */
  categoryQuotes?: CategoryQuotes;
  /** Whether to also write each list as CSV. */
  withText?: boolean;
  /** The folder to create; it must not exist or be empty. */
  out: string;
  /** Maximum memory of the SQL engine, in MiB (512); the rest is spilled to disk next to `out`. */
  memoryLimitMiB?: number;
  threads?: number;
  signal?: AbortSignal;
};

/** The process needs twice as much at its peak for GLDv2's lists; more memory makes it 10 % faster. */
const defaultMemoryMiB = 512;

/**
 * Makes the lists of a collection in GLDv2's format, or uses the lists in its folder `imported/lists`: `out/lists/NAME.parquet` with the
 * columns image_id, path (relative to the image root), label (int32), noisy (0 or 1), country, continent (nullable), image_number (int32,
 * from 0, of the distinct image in order of first appearance, in tars in the order of their places), for tars also tar, offset, size; for tars, and where the files are compared,
 * file_bytes and file_changed_ms; with `withText` also `out/lists/NAME.csv`; with the list `query` also `out/lists/ground_truth.parquet`
 * (query_id, image_id, usage: scored queries only); for tars `out/tars/SPLIT.parquet`; and `out/manifest.json`, which is returned.
 * Everything is written to a temporary folder and renamed.
 *
 * @throws CairnError `missing_file`, `missing_column`, `bad_row`, `corrupt_tar`, `folder_not_allowed`, `dataset_changed`, `name_taken`,
 *   `storage_full`; the signal's reason.
 */
export async function prepareLists(options: PrepareListsOptions): Promise<ListsManifest> {
  const out = resolve(options.out);
  const lists = [...new Set(options.lists)];
  await refuseTaken(out, 'the lists');
  const gate = await createFileGate(options.roots ?? null);
  await requireFolder('The metadata folder', options.metadata, gate);
  if (options.countries !== undefined) await requireFolder('The countries folder', options.countries, gate);
  return makingBeside(
    out,
    async (making) => {
      const manifest = await fill(making, lists, options, gate);
      await rename(making, out);
      return manifest;
    },
    options.signal,
  ).finally(gate.close);
}

async function fill(root: string, lists: readonly ListName[], options: PrepareListsOptions, gate: FileGate): Promise<ListsManifest> {
  const {
    images,
    metadata,
    countries,
    registered,
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
  const takenFolder = join(root, 'taken');
  await mkdir(takenFolder);
  const taken = await takeInMetadata({ metadata, countries }, { lists, importable: lists }, { folder: takenFolder, gate, signal });
  if (registered !== undefined) await requireRegisteredMetadata(registered, taken, lists, { folder: metadata, gate });
  const database = await openDatabase({
    folder: work,
    memoryLimitMiB,
    ...(threads === undefined ? {} : { threads }),
    ...(signal ? { signal } : {}),
  });
  try {
    for (const list of taken.imported.values()) await checkImportedList(database, list);
    const rows = await loadMetadata(database, taken.files, { categoryQuotes }, signal);
    const inputs = inputsOf(taken, rows);
    const loaded = new Set(rows.keys());
    const { labelled } = await makeListTables(database, loaded);
    if (taken.countries === null) await noCountries(database);
    else await loadCountries(database, taken.countries, loaded, categoryQuotes, signal);
    const files = { gate, signal };
    const loadedTars = hasTars ? await loadTars(database, images.root, splitsNeeded(lists), root, files) : null;
    const tars = loadedTars?.entries ?? null;
    const tarMd5s = tars === null ? null : md5sOf(tars);
    if (registered !== undefined) {
      const now = loadedTars?.digests ?? (await loadImageFiles(database, images.root, splitsNeeded(lists), files));
      requireRegisteredImages(registered, now, images);
    }
    const filePlaces = hasTars ? 'tars' : registered === undefined ? null : 'folder';
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
      lists.filter((list) => !taken.imported.has(list)),
      { seed: testSeed, cleanLandmarks: rows.get('trainClean') ?? 0 },
    );
    for (const [list, { copy }] of taken.imported) definitions.set(list, { table: importedTable(list, copy), blocks: 1 });
    // The largest first, which frees memory for the others.
    const tables = new Map([...definitions.values()].map(({ table }) => [table.name, table]));
    for (const table of [...tables.values()].toSorted((a, b) => b.blocks.length - a.blocks.length)) {
      await makeRowTable(database, table, filePlaces);
      for (const [list, definition] of definitions) {
        if (definition.table.name !== table.name) continue;
        const given = taken.imported.get(list);
        const classes = given === undefined ? classesOfList(list, labelled) : importedClasses(given.copy);
        manifest.lists[list] = await writeList(database, { list, definition, classes, root, filePlaces, tarMd5s, withText }, signal);
      }
      await database.run(`drop table ${table.name}`);
    }
    manifest.lists = Object.fromEntries(lists.map((list) => [list, manifest.lists[list]]));
    if (lists.includes('query')) manifest.groundTruth = await writeGroundTruth(database, root, loaded.has('index'), signal);
    await closeAndRemove(database, [work, takenFolder]);
    await writeFile(join(root, listsManifestName), `${JSON.stringify(manifest, null, 2)}\n`);
    return manifest;
  } catch (error) {
    await closeAndRemove(database, [work, takenFolder]);
    throw error;
  }
}

async function closeAndRemove(database: Database, folders: readonly string[]): Promise<void> {
  database.close();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
}

/** The files read, by name. */
function inputsOf({ files, digests }: TakenMetadata, rows: Awaited<ReturnType<typeof loadMetadata>>): ListsManifest['inputs'] {
  const csv = new Map([...files.values()].map((file) => [file.file.name, file]));
  const inputs: ListsManifest['inputs'] = {};
  for (const [name, digest] of Object.entries(digests)) {
    const file = csv.get(name);
    inputs[file === undefined ? name : basename(file.path)] = { ...digest, rows: file === undefined ? null : count(rows.get(file.key)) };
  }
  return inputs;
}

function md5sOf(tars: NonNullable<ListsManifest['tars']>): Record<string, string> {
  return Object.fromEntries(Object.values(tars).flatMap((index) => index.tars.map(({ tar, md5 }) => [tar, md5])));
}

/** Writes `lists/ground_truth.parquet` under `root`: one row per scored query and ground-truth image, in file order. */
async function writeGroundTruth(database: Database, root: string, hasIndex: boolean, signal?: AbortSignal): Promise<GroundTruthEntry> {
  const path = 'lists/ground_truth.parquet';
  const file = join(root, path);
  // An image that occurs twice for a query counts once.
  await database.run(
    `copy (select query_id, image_id, usage from (select pos, min(n) as n, query_id, image_id, usage from truth group by all) order by pos, n)
     to ${literal(file)} ${parquet}`,
  );
  const outside = hasIndex ? 'count(*) filter (where image_id not in (select id from index_image))' : 'null';
  const [counts] = await database.rows(
    `select count(*) as rows, count(distinct query_id) as queries, ${outside} as outside from read_parquet(${pathLiteral(file)})`,
  );
  const notInIndex = counts?.outside;
  return {
    path,
    ...(await fileDigest(file, signal)),
    rows: count(counts?.rows),
    queries: count(counts?.queries),
    notInIndex: typeof notInIndex === 'number' ? notInIndex : null,
  };
}

import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CairnError, type DatasetFiles, type ImageSource, isDatasetUrl, type ListName, listName, prepareSettings } from '@cairn/contract';
import { datasetDigest, type FileDigest, folderDigest, tarMd5s } from './digests.ts';
import { openDatabase } from './duckdb.ts';
import { createFileGate, type FileGate } from './file-gate.ts';
import { below, type ImageSplit, imageSplits, requireFolder } from './folders.ts';
import { checkImportedList } from './lists/imported-lists.ts';
import { splitsNeeded } from './lists/load-tables.ts';
import type { ImageRoot } from './lists/manifest.ts';
import { optionalFiles } from './metadata/files.ts';
import { loadMetadata } from './metadata/load-metadata.ts';
import { readCountries } from './metadata/read-countries.ts';
import { type MetadataLimits, takeInMetadata } from './metadata/take-in.ts';
import { tarsOfSplit } from './tars/index-tars.ts';

export type CheckDatasetOptions = {
  metadata: string;
  countries?: string | undefined;
  images: ImageRoot;
  /** The lists to make from it: only the files that they need must exist. */
  lists: readonly ListName[];
  /** The folders that may contain its files; null for any folder that this process can read. */
  roots: readonly string[] | null;
  limits?: MetadataLimits;
  signal?: AbortSignal | undefined;
};

/** A valid collection: the rows of each CSV file, and the tars of each split (none for folders). */
export type CheckedDataset = {
  rows: Record<string, number>;
  tars: Partial<Record<ImageSplit, number>>;
  countries: number;
  /** Digests of the checked files. */
  metadata: Record<string, FileDigest>;
};

/**
 * Checks a collection before it is registered: the files that the lists need exist, their headers are valid, and every row of every CSV
 * file and imported list can be read. Images and tars are not opened: errors in them are found when they are read.
 *
 * @throws CairnError `missing_file` (naming the list that needs it), `missing_column` (naming the columns expected), `bad_row`
 *   (naming file, line and column), `folder_not_allowed`.
 */
export async function checkDataset(options: CheckDatasetOptions): Promise<CheckedDataset> {
  const { metadata, countries, images, lists, limits, signal } = options;
  const gate = await createFileGate(options.roots);
  await requireFolder('The image folder', images.root, gate);
  await requireFolder('The metadata folder', metadata, gate);
  if (countries !== undefined) await requireFolder('The countries folder', countries, gate);
  const tars = await checkImages(images, lists, gate);
  const folder = await mkdtemp(join(tmpdir(), 'cairn-check-'));
  try {
    const wanted = { lists, importable: listName.options, also: optionalFiles };
    const taken = await takeInMetadata({ metadata, countries }, wanted, { folder, gate, signal, ...(limits ? { limits } : {}) });
    const places = taken.countries === null ? null : await readCountries(taken.countries, 'reference', signal);
    const database = await openDatabase({ folder, ...(signal ? { signal } : {}) });
    try {
      for (const list of taken.imported.values()) await checkImportedList(database, list);
      const rows = await loadMetadata(database, taken.files, { categoryQuotes: 'reference' }, signal);
      return {
        rows: Object.fromEntries([...rows].map(([key, n]) => [taken.files.get(key)?.file.name ?? key, n])),
        tars,
        countries: new Set(places?.countryOf.values() ?? []).size,
        metadata: taken.digests,
      };
    } finally {
      database.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkImages(images: ImageRoot, lists: readonly ListName[], gate: FileGate): Promise<Partial<Record<ImageSplit, number>>> {
  const tars: Partial<Record<ImageSplit, number>> = {};
  for (const split of splitsNeeded(lists)) {
    if (images.kind === 'tars') {
      tars[split] = (await tarsOfSplit(images.root, split, gate)).length;
      continue;
    }
    const folder = below(images.root, split);
    if ((await gate.sourceOf(folder)) !== null) {
      await requireFolder('The image folder', folder, gate);
      continue;
    }
    await gate.realPath(folder).catch((error: unknown) => {
      if (error instanceof CairnError) throw error;
    });
    const isThere = await stat(folder).then(
      (stats) => stats.isDirectory(),
      () => false,
    );
    if (!isThere || (await readdir(folder)).length === 0) {
      const users = lists.filter((list) => splitsNeeded([list]).includes(split));
      const needs = users.length === 1 ? `the list ${users[0]} needs it` : `the lists ${users.join(', ')} need it`;
      const message = `${folder} is not a folder with images; ${needs}: put the images there as a/b/c/ID.jpg`;
      throw new CairnError('missing_file', message, { details: { folder, split, lists: users } });
    }
  }
  return tars;
}

export type InspectedDataset = {
  digest: string;
  /** A description of the digest's inputs. */
  digestBasis: string;
  files: DatasetFiles;
};

/**
 * Checks that the files of a collection exist and are readable, and digests them: CSV files by content, images by their listing (with sizes
 * and times) or by the md5 of the tars.
 *
 * @param options.roots the folders that may contain its files; null for any folder that this process can read
 * @throws CairnError `missing_file`, `missing_column`, `bad_row`, `folder_not_allowed`; the system's error; the signal's reason
 */
export async function inspectDataset(
  { kind, root, metadata, countries }: ImageSource,
  { roots, signal }: { roots: readonly string[] | null; signal?: AbortSignal | undefined },
): Promise<InspectedDataset> {
  // Together these lists need every CSV file and every split.
  const { lists } = prepareSettings.parse({});
  const images = { kind, root };
  const checked = await checkDataset({ metadata, countries: countries ?? undefined, images, lists, roots, signal });
  const how = { gate: await createFileGate(roots), signal };
  const { digests, basis } = kind === 'tars' ? await digestTars(root, how) : await digestFolders(root, how);
  const files: DatasetFiles = { metadata: checked.metadata, images: digests };
  return {
    digest: datasetDigest(files),
    digestBasis: `the content of ${Object.keys(checked.metadata).length} CSV and country files, and ${basis}`,
    files,
  };
}

type How = { gate: FileGate; signal: AbortSignal | undefined };

async function digestTars(root: string, how: How) {
  const digests = await tarMd5s(root, imageSplits, how);
  return { digests, basis: `the ${isDatasetUrl(root) ? 'md5 sums, or ETags,' : 'md5 sums'} of ${Object.keys(digests).length} tars` };
}

async function digestFolders(root: string, how: How) {
  const digests: Record<string, string> = {};
  let files = 0;
  // Only the splits: other files in the root, such as the CSV files, do not affect images.
  for (const split of imageSplits) {
    const folder = await folderDigest(below(root, split), how);
    digests[split] = folder.digest;
    files += folder.files;
  }
  return { digests, basis: `the names, sizes and ${isDatasetUrl(root) ? 'ETags' : 'times (not the content)'} of ${files} images` };
}

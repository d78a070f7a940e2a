import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ListName } from '@cairn/contract';
import type { FileDigest } from '../digests.ts';
import type { FileGate } from '../file-gate.ts';
import { findImportedLists, importedFolder, type TakenList } from '../lists/imported-lists.ts';
import type { MetadataFileKey } from './files.ts';
import { findMetadata, readHeader, type TakenFile } from './find-metadata.ts';
import { type TakenCountries, takeInCountries } from './read-countries.ts';
import { type TakeInOptions, takeIn } from './take-in.ts';

/** A snapshot of the metadata: private copies and their digests. */
export type TakenMetadata = {
  files: Map<MetadataFileKey, TakenFile>;
  imported: Map<ListName, TakenList>;
  countries: TakenCountries | null;
  /** By name: `train.csv` (also of train.csv.gz, whose own bytes are digested), `countries/JP.json`, `imported/lists/clean.parquet`. */
  digests: Record<string, FileDigest>;
};

export type MetadataSource = { metadata: string; countries?: string | undefined };

/**
 * Copies all files that the lists need: their CSV files, the countries if there is a folder, and the imported lists among `importable`.
 * `folder`, which must be empty, gets the copies; the caller removes it.
 *
 * @throws CairnError `missing_file` (naming the list that needs it), `missing_column`, `bad_row`, `folder_not_allowed`; the signal's reason
 */
export async function takeInMetadata(
  { metadata, countries }: MetadataSource,
  wanted: { lists: readonly ListName[]; importable: readonly ListName[]; also?: readonly MetadataFileKey[] },
  options: { folder: string; gate: FileGate; limits?: TakeInOptions['limits']; signal?: AbortSignal | undefined },
): Promise<TakenMetadata> {
  const { folder, gate, limits, signal } = options;
  const how = (kind: TakeInOptions['kind']): TakeInOptions => ({ gate, kind, signal, ...(limits ? { limits } : {}) });
  const { lists, importable, also = [] } = wanted;
  const foundLists = await findImportedLists(metadata, importable);
  const made = lists.filter((list) => !foundLists.has(list));
  const found = await findMetadata(metadata, { lists: made, withCountries: countries !== undefined, also });

  const digests: TakenMetadata['digests'] = {};
  const imported: TakenMetadata['imported'] = new Map();
  for (const [list, path] of foundLists) {
    const copy = join(folder, `imported-${list}.parquet`);
    digests[`${importedFolder}/${list}.parquet`] = await takeIn(path, copy, how('parquet'));
    imported.set(list, { path, copy });
  }
  const files: TakenMetadata['files'] = new Map();
  for (const [key, file] of found) {
    const copy = join(folder, `${key}.csv`);
    digests[file.file.name] = await takeIn(file.path, copy, how('csv'));
    files.set(key, { ...file, copy, header: await readHeader(file, copy, signal) });
  }
  if (countries === undefined) return { files, imported, countries: null, digests };
  const taken = { folder: countries, copy: join(folder, 'countries') };
  await mkdir(taken.copy);
  const take = async (name: string): Promise<void> => {
    digests[`countries/${name}`] = await takeIn(join(countries, name), join(taken.copy, name), how(name.endsWith('.csv') ? 'csv' : 'json'));
  };
  await takeInCountries(taken, take, signal);
  return { files, imported, countries: taken, digests };
}

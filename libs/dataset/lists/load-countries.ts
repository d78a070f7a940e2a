import { join } from 'node:path';
import type { CategoryQuotes } from '@cairn/contract';
import { fileDigest } from '../digests.ts';
import type { Database } from '../duckdb.ts';
import type { MetadataFileKey } from '../metadata/files.ts';
import { continentOfCountry, countryFilesIn, readCountries } from '../metadata/read-countries.ts';
import type { ListsManifest } from './manifest.ts';

/**
 * Gives every label of a known category its country and continent (the table label_country), and returns the digests of the
 * files read. Without the category files there is nothing to join: the table stays empty.
 */
export async function loadCountries(
  database: Database,
  folder: string,
  loaded: ReadonlySet<MetadataFileKey>,
  quotes: CategoryQuotes,
  signal?: AbortSignal,
): Promise<ListsManifest['inputs']> {
  const countries = await readCountries(folder, quotes, signal);
  const inputs: ListsManifest['inputs'] = {};
  for (const name of await countryFilesIn(folder, signal))
    inputs[`countries/${name}`] = { ...(await fileDigest(join(folder, name), signal)), rows: null };
  if (!loaded.has('trainClean') || !loaded.has('trainCategory')) return inputs;
  await database.run('create table category_country (category varchar, country varchar, continent varchar)');
  const rows = [...countries.countryOf].map(([category, country]) => [category, country, continentOfCountry(countries, country)] as const);
  await database.append('category_country', rows);
  await database.run(
    'insert into label_country select l.gid, c.country, c.continent from label_category l join category_country c using (category)',
  );
  return inputs;
}

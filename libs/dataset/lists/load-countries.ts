import { join } from 'node:path';
import type { CategoryQuotes } from '@cairn/contract';
import { fileDigest } from '../digests.ts';
import type { Database } from '../duckdb.ts';
import type { MetadataFileKey } from '../metadata/files.ts';
import { continentOfCountry, countryFilesIn, readCountries } from '../metadata/read-countries.ts';
import type { ListsManifest } from './manifest.ts';

/** The table label_country where no country is known. */
export async function noCountries(database: Database): Promise<void> {
  await database.run('create table label_country (gid integer, country varchar, continent varchar)');
}

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
  for (const name of await countryFilesIn(folder, signal)) {
    inputs[`countries/${name}`] = { ...(await fileDigest(join(folder, name), signal)), rows: null };
  }
  const rows = [...countries.countryOf].map(([category, country]) => [category, country, continentOfCountry(countries, country)] as const);
  if (rows.length === 0 || !loaded.has('trainClean') || !loaded.has('trainCategory')) {
    await noCountries(database);
    return inputs;
  }
  await database.run('create table category_country (category varchar, country varchar, continent varchar)');
  await database.append('category_country', rows);
  // Millions of rows have one of few names each.
  for (const name of ['country', 'continent']) {
    await database.run(`create type ${name}_name as enum (select coalesce(${name}, '') from category_country group by all order by all)`);
  }
  await database.run(
    `create table label_country as
     select l.gid, c.country::country_name as country, c.continent::continent_name as continent
     from label_category l join category_country c using (category)`,
  );
  return inputs;
}

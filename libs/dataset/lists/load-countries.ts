import type { CategoryQuotes } from '@cairn/contract';
import type { Database } from '../duckdb.ts';
import type { MetadataFileKey } from '../metadata/files.ts';
import { continentOfCountry, readCountries, type TakenCountries } from '../metadata/read-countries.ts';

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

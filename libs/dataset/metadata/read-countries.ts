import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, type CategoryQuotes } from '@cairn/contract';
import { csvFields } from './csv-fields.ts';
import { badRowError } from './locate-bad-row.ts';
import { decoded, textLines } from './text-lines.ts';

/** Where the landmarks lie: category text to country code, country code to continent. */
export type Countries = { countryOf: Map<string, string>; continentOf: Map<string, string> };

const codesFile = 'country_codes.json';
const continentsFile = 'continent_codes.csv';
const continentColumn = 'Continent_Name';
const countryColumn = 'Two_Letter_Country_Code';

/**
 * Reads the countries folder: country_codes.json (the codes, as an array or as the keys of an object), one CODE.json a country
 * (objects with a `name`, the category) and continent_codes.csv. A later country wins a category; a later row wins a country,
 * which is how Turkey becomes Asian. Kosovo (XK), missing from the table, is European; OTHER is a continent of its own.
 *
 * @throws CairnError `missing_file`, `missing_column`, or `bad_row` with the line.
 */
export async function readCountries(folder: string, quotes: CategoryQuotes, signal?: AbortSignal): Promise<Countries> {
  const codes = await countryCodesIn(folder, signal);
  const countryOf = new Map<string, string>();
  for (const code of codes) {
    const name = `${code}.json`;
    const path = join(folder, name);
    const items = await json(folder, name, `${codesFile} names the country ${code}`, signal);
    if (!Array.isArray(items)) throw badJson(path, 1, 'an array of objects with a `name`', JSON.stringify(items));
    for (const item of items as unknown[]) {
      if (typeof item !== 'object' || item === null || !('name' in item) || typeof item.name !== 'string') {
        throw badJson(path, 1, 'objects with a `name`', JSON.stringify(item));
      }
      // The reference's names have their inner quotes doubled, as its categories have.
      countryOf.set(quotes === 'csv' ? item.name.replaceAll('""', '"') : item.name, code);
    }
  }
  return { countryOf, continentOf: await readContinents(folder, signal) };
}

/** The files of a countries folder, by name: those that lists are made from. Throws as {@link readCountries} does. */
export async function countryFilesIn(folder: string, signal?: AbortSignal): Promise<string[]> {
  return [codesFile, continentsFile, ...(await countryCodesIn(folder, signal)).map((code) => `${code}.json`)];
}

async function countryCodesIn(folder: string, signal?: AbortSignal): Promise<string[]> {
  return codesOf(await json(folder, codesFile, 'it names the countries', signal), join(folder, codesFile));
}

/** The continent of a country, null when the table does not know it. */
export function continentOfCountry(countries: Countries, country: string): string | null {
  if (country === 'OTHER') return 'OTHER';
  if (country === 'XK') return 'Europe';
  return countries.continentOf.get(country) ?? null;
}

async function readContinents(folder: string, signal?: AbortSignal): Promise<Map<string, string>> {
  const path = join(folder, continentsFile);
  const continentOf = new Map<string, string>();
  let header: string[] = [];
  try {
    for await (const line of textLines(path, signal)) {
      const text = decoded(line) ?? '';
      const { fields, fault } = csvFields(text);
      const bad = (columnNumber: number, expected: string): CairnError =>
        badRowError({
          file: continentsFile,
          path,
          line: line.number,
          column: header[columnNumber - 1] ?? 'none',
          columnNumber,
          expected,
          found: text,
        });
      if (fault) throw bad(fault.column, fault.expected);
      if (line.number === 1) {
        header = fields;
        const missing = [continentColumn, countryColumn].filter((name) => !header.includes(name));
        if (missing.length > 0) {
          throw new CairnError('missing_column', `${path} lacks the column ${missing.join(', ')}: found ${header.join(', ')}`, {
            details: { file: continentsFile, path, expected: [continentColumn, countryColumn], found: header },
          });
        }
        continue;
      }
      if (text === '') continue;
      if (fields.length !== header.length) throw bad(Math.min(fields.length, header.length), `${header.length} columns`);
      // The code NA is Namibia's, not a missing value.
      continentOf.set(fields[header.indexOf(countryColumn)] ?? '', fields[header.indexOf(continentColumn)] ?? '');
    }
  } catch (error) {
    if (isMissing(error)) throw missingFile(folder, continentsFile, 'it tells the continents of the countries', error);
    throw error;
  }
  return continentOf;
}

async function json(folder: string, name: string, why: string, signal?: AbortSignal): Promise<unknown> {
  const path = join(folder, name);
  const text = await readFile(path, { encoding: 'utf8', ...(signal ? { signal } : {}) }).catch((error: unknown) => {
    throw isMissing(error) ? missingFile(folder, name, why, error) : error;
  });
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch (error) {
    const position = Number(/position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1] ?? 0);
    throw badJson(path, text.slice(0, position).split('\n').length, 'JSON', text.slice(position, position + 40), error);
  }
}

function codesOf(value: unknown, path: string): string[] {
  const codes: unknown[] = Array.isArray(value) ? value : typeof value === 'object' && value !== null ? Object.keys(value) : [];
  return codes.map((code) => {
    // A code names a file: nothing but letters may stand in it.
    if (typeof code !== 'string' || !/^[A-Za-z]{2,16}$/.test(code))
      throw badJson(path, 1, 'country codes of letters', JSON.stringify(code));
    return code;
  });
}

function badJson(path: string, line: number, expected: string, found: string, cause?: unknown): CairnError {
  return badRowError({ file: path.split('/').at(-1) ?? path, path, line, column: 'JSON', columnNumber: 1, expected, found }, cause);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function missingFile(folder: string, name: string, why: string, cause: unknown): CairnError {
  const message = `${name} is not in ${folder}; ${why}, and the country and continent columns of the lists need it: put it there`;
  return new CairnError('missing_file', message, { details: { file: name, folder, lists: ['all'] }, cause });
}

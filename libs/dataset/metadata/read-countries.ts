import { isUtf8 } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, type CategoryQuotes } from '@cairn/contract';
import { below } from '../folders.ts';
import { badRowError } from './locate-bad-row.ts';
import { csvFields, decoded, textLines } from './text-lines.ts';

/** The location of landmarks: from category to country code, and from country code to continent. */
export type Countries = { countryOf: Map<string, string>; continentOf: Map<string, string> };

const codesFile = 'country_codes.json';
const continentsFile = 'continent_codes.csv';

/** A countries folder, read from a copy; `folder` is the original, for messages. */
export type TakenCountries = { folder: string; copy: string };
/** There are 250. */
const mostCountries = 1000;
const continentColumn = 'Continent_Name';
const countryColumn = 'Two_Letter_Country_Code';

/**
 * Reads the countries folder: country_codes.json (the codes, as an array or as the keys of an object), one CODE.json per country (objects
 * with a `name`, the category) and continent_codes.csv. The last country of a category and the last row of a country are used, so Turkey is
 * in Asia. Kosovo (XK), which is missing in the table, is in Europe; OTHER is its own continent.
 *
 * @throws CairnError `missing_file`, `missing_column`, or `bad_row` with the line.
 */
export async function readCountries(taken: TakenCountries, quotes: CategoryQuotes, signal?: AbortSignal): Promise<Countries> {
  const { folder } = taken;
  const codes = await countryCodesIn(taken, signal);
  const countryOf = new Map<string, string>();
  for (const code of codes) {
    const name = `${code}.json`;
    const path = below(folder, name);
    const items = await json(taken, name, signal);
    if (!Array.isArray(items)) throw badJson(path, 1, 'an array of objects with a `name`');
    for (const item of items as unknown[]) {
      if (typeof item !== 'object' || item === null || !('name' in item) || typeof item.name !== 'string') {
        throw badJson(path, 1, 'objects with a `name`');
      }
      // The reference's names have their inner quotes doubled, as its categories have.
      countryOf.set(quotes === 'csv' ? item.name.replaceAll('""', '"') : item.name, code);
    }
  }
  return { countryOf, continentOf: await readContinents(taken, signal) };
}

/**
 * Copies the files of a countries folder with `take` (name, and why it is needed): first the codes, which name the others.
 *
 * @throws CairnError `missing_file` naming the file; as `take` and {@link readCountries} do
 */
export async function takeInCountries(taken: TakenCountries, take: (name: string) => Promise<void>, signal?: AbortSignal): Promise<void> {
  const takeNeeded = async (name: string, why: string): Promise<void> =>
    take(name).catch((error: unknown) => {
      throw isMissing(error) ? missingFile(taken.folder, name, why) : error;
    });
  await takeNeeded(codesFile, 'it names the countries');
  await takeNeeded(continentsFile, 'it has the continents of the countries');
  for (const code of new Set(await countryCodesIn(taken, signal)))
    await takeNeeded(`${code}.json`, `${codesFile} names the country ${code}`);
}

async function countryCodesIn(taken: TakenCountries, signal?: AbortSignal): Promise<string[]> {
  return codesOf(await json(taken, codesFile, signal), join(taken.folder, codesFile));
}

/** The continent of a country, null if it is not in the table. */
export function continentOfCountry(countries: Countries, country: string): string | null {
  if (country === 'OTHER') return 'OTHER';
  if (country === 'XK') return 'Europe';
  return countries.continentOf.get(country) ?? null;
}

async function readContinents({ folder, copy }: TakenCountries, signal?: AbortSignal): Promise<Map<string, string>> {
  const path = below(folder, continentsFile);
  const expected = [continentColumn, countryColumn];
  const continentOf = new Map<string, string>();
  let header: string[] = [];
  for await (const line of textLines(join(copy, continentsFile), signal)) {
    const bad = (columnNumber: number, what: string): CairnError => {
      const column = expected.find((name) => name === header[columnNumber - 1]) ?? null;
      return badRowError({ file: continentsFile, path, line: line.number, column, columnNumber, expected: what });
    };
    const text = decoded(line);
    if (text === null) throw bad(1, 'UTF-8 text');
    const { fields, fault } = csvFields(text);
    if (fault) throw bad(fault.column, fault.expected);
    if (line.number === 1) {
      header = fields;
      const missing = expected.filter((name) => !header.includes(name));
      if (missing.length > 0) {
        const message = `${path} lacks the column ${missing.join(', ')}: expected ${expected.join(', ')} in its first line`;
        throw new CairnError('missing_column', message, { details: { file: continentsFile, path, expected } });
      }
      continue;
    }
    if (text === '') continue;
    if (fields.length !== header.length) throw bad(Math.min(fields.length, header.length), `${header.length} columns`);
    // The code NA is Namibia's, not a missing value.
    continentOf.set(fields[header.indexOf(countryColumn)] ?? '', fields[header.indexOf(continentColumn)] ?? '');
  }
  return continentOf;
}

async function json({ folder, copy }: TakenCountries, name: string, signal?: AbortSignal): Promise<unknown> {
  const bytes = await readFile(join(copy, name), signal ? { signal } : {});
  if (!isUtf8(bytes)) throw badJson(below(folder, name), 1, 'JSON in UTF-8');
  const text = bytes.toString('utf8').replace(/^\ufeff/, '');
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch (error) {
    // The parser's message quotes the text: only the position is used.
    const position = Number(/position (\d+)/.exec(error instanceof Error ? error.message : '')?.[1] ?? 0);
    throw badJson(below(folder, name), text.slice(0, position).split('\n').length, 'JSON');
  }
}

function codesOf(value: unknown, path: string): string[] {
  const codes: unknown[] = Array.isArray(value) ? value : typeof value === 'object' && value !== null ? Object.keys(value) : [];
  if (codes.length > mostCountries) throw badJson(path, 1, `at most ${mostCountries} country codes`);
  return codes.map((code) => {
    // A code names a file, so it must consist of letters.
    if (typeof code !== 'string' || !/^[A-Za-z]{2,16}$/.test(code)) throw badJson(path, 1, 'country codes of letters');
    return code;
  });
}

function badJson(path: string, line: number, expected: string): CairnError {
  return badRowError({ file: path.split('/').at(-1) ?? path, path, line, column: null, columnNumber: 1, expected });
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function missingFile(folder: string, name: string, why: string): CairnError {
  const message = `${name} is not in ${folder}; ${why}, and the country and continent columns of the lists need it: put it there`;
  return new CairnError('missing_file', message, { details: { file: name, folder, lists: ['all'] } });
}

import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { CategoryQuotes } from '@cairn/contract';
import type { Database } from '../duckdb.ts';
import { count, literal, pathLiteral } from '../duckdb.ts';
import { isBrokenGzip, unzippedChunks } from '../gzip.ts';
import type { MetadataFileKey } from './files.ts';
import type { FoundFile } from './find-metadata.ts';
import { badRowError, locateBadRow } from './locate-bad-row.ts';
import { categoryCells, landmarkPattern, refuseBadCategories, requireCategoryColumns } from './read-categories.ts';
import { textLines } from './text-lines.ts';

/** The table that each file becomes: its rows in file order (rowid counts them from 0), the columns are the file's texts. */
export const tableOf = {
  train: 'train',
  trainClean: 'train_clean',
  trainCategory: 'train_category',
  indexCategory: 'index_category',
  indexLandmark: 'index_landmark',
  index: 'index_image',
  competitionIndex: 'competition_index',
  test: 'test_image',
  solution: 'solution',
} as const satisfies Record<MetadataFileKey, string>;

export type LoadOptions = {
  /** For what must be unzipped first; the caller removes it. */
  folder: string;
  categoryQuotes: CategoryQuotes;
  /** Lets ids repeat that may not: for who wants to count them. */
  allowsRepeated?: boolean;
};

/**
 * Loads the metadata files into tables and checks every row of them. Returns the rows of each file.
 *
 * @throws CairnError `bad_row` naming file, line and column of the first row that cannot be right.
 */
export async function loadMetadata(
  database: Database,
  found: ReadonlyMap<MetadataFileKey, FoundFile>,
  options: LoadOptions,
  signal?: AbortSignal,
): Promise<Map<MetadataFileKey, number>> {
  const counts = new Map<MetadataFileKey, number>();
  for (const [key, file] of found) {
    const source = file.isGzip ? await unzipped(file, options.folder, signal) : file.path;
    const isCategories = key === 'trainCategory' || key === 'indexCategory';
    await (isCategories ? loadCategories(database, file, source, options, signal) : loadCsv(database, file, source, options, signal));
    if (file.isGzip) await rm(source);
    const [answer] = await database.rows(`select count(*) as n from ${tableOf[key]}`);
    counts.set(key, count(answer?.n));
  }
  return counts;
}

async function loadCategories(
  database: Database,
  found: FoundFile,
  source: string,
  options: LoadOptions,
  signal?: AbortSignal,
): Promise<void> {
  const table = tableOf[found.key];
  const { landmarkId, category } = categoryCells(options.categoryQuotes);
  requireCategoryColumns(found);
  try {
    // One column, the whole line: no file of text has the separator.
    const lines = `read_csv(${pathLiteral(source)}, header = false, skip = 1, delim = chr(1), quote = '', escape = '', auto_detect = false,
      columns = {line: 'VARCHAR'})`;
    await database.run(
      `create table ${table} as select ${landmarkId} as landmark_id, ${category} as category
       from (select trim(line, chr(9) || chr(13) || ' ') as line from ${lines}) where line <> ''`,
    );
  } catch (error) {
    signal?.throwIfAborted();
    await refuseBadCategories(found, options.categoryQuotes, signal);
    throw error;
  }
  const [answer] = await database.rows(
    `select count(*) as bad from ${table} where not regexp_full_match(landmark_id, ${literal(landmarkPattern)}) or coalesce(category, '') = ''`,
  );
  if (count(answer?.bad) === 0) return;
  await refuseBadCategories(found, options.categoryQuotes, signal);
  throw new Error(`${found.path}: ${count(answer?.bad)} rows have no category, but a second reading finds none: did the file change?`);
}

/** Not left to DuckDB, which takes a gzip file that is cut off for a shorter one. */
async function unzipped(found: FoundFile, folder: string, signal?: AbortSignal): Promise<string> {
  const path = join(folder, `${found.key}.csv`);
  try {
    await pipeline(unzippedChunks(found.path, signal), createWriteStream(path));
  } catch (error) {
    if (!isBrokenGzip(error)) throw error;
    // The second reading counts the lines and throws.
    for await (const _ of textLines(found.path, signal));
    throw error;
  }
  return path;
}

async function loadCsv(database: Database, found: FoundFile, source: string, options: LoadOptions, signal?: AbortSignal): Promise<void> {
  const { file, path, header } = found;
  const unique = options.allowsRepeated ? undefined : file.unique;
  const table = tableOf[found.key];
  const types = header.map((name) => `${literal(name)}: 'VARCHAR'`).join(', ');
  const reader = `read_csv(${pathLiteral(source)}, header = true, delim = ',', quote = '"', escape = '"', auto_detect = false, columns = {${types}})`;
  const columns = file.columns.map((column) => `"${column.name}"`).join(', ');
  try {
    await database.run(`create table ${table} as select ${columns} from ${reader}`);
  } catch (error) {
    signal?.throwIfAborted();
    const bad = await locateBadRow({ ...file, unique }, path, header, signal);
    if (bad) throw badRowError(bad, error);
    throw error;
  }
  const [answer] = await database.rows(`select count(*) as bad from ${table} where ${brokenRules(found)}`);
  const repeated =
    unique === undefined ? [] : await database.rows(`select 1 from ${table} group by "${unique}" having count(*) > 1 limit 1`);
  if (count(answer?.bad) === 0 && repeated.length === 0) return;
  const bad = await locateBadRow({ ...file, unique }, path, header, signal);
  if (bad) throw badRowError(bad);
  throw new Error(
    `${path}: ${count(answer?.bad)} rows break the rules of ${file.name}, but a second reading finds none: did the file change?`,
  );
}

/** The SQL condition that holds for the rows which break a rule of the file. */
function brokenRules(found: FoundFile): string {
  const broken = found.file.columns.map((rule) => `not regexp_full_match(coalesce("${rule.name}", ''), ${literal(rule.pattern)})`);
  if (found.key === 'solution') broken.push(`("Usage" <> 'Ignored' and coalesce("images", 'None') = 'None')`);
  return broken.join(' or ');
}

import type { CategoryQuotes } from '@cairn/contract';
import type { Database } from '../duckdb.ts';
import { count, literal, pathLiteral } from '../duckdb.ts';
import type { MetadataFileKey } from './files.ts';
import type { FoundFile } from './find-metadata.ts';
import { badRowError, locateBadRow } from './locate-bad-row.ts';
import { readCategories } from './read-categories.ts';

/** The table that each file becomes: its rows in file order (rowid counts them from 0), the columns are the file's texts. */
export const tableOf = {
  train: 'train',
  trainClean: 'train_clean',
  trainCategory: 'train_category',
  indexCategory: 'index_category',
  indexLandmark: 'index_landmark',
  index: 'index_image',
  competitionIndex: 'competition_index',
  solution: 'solution',
} as const satisfies Record<MetadataFileKey, string>;

export type LoadOptions = {
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
  const rows = new Map<MetadataFileKey, number>();
  for (const [key, file] of found) {
    if (key === 'trainCategory' || key === 'indexCategory') await loadCategories(database, file, options, signal);
    else await loadCsv(database, file, options, signal);
    const [answer] = await database.rows(`select count(*) as n from ${tableOf[key]}`);
    rows.set(key, count(answer?.n));
  }
  return rows;
}

async function loadCategories(database: Database, file: FoundFile, options: LoadOptions, signal?: AbortSignal): Promise<void> {
  const table = tableOf[file.key];
  await database.run(`create table ${table} (landmark_id varchar, category varchar)`);
  // At most one row a landmark (203,094): small enough to be appended at once.
  const rows: [string, string][] = [];
  for await (const { landmarkId, category } of readCategories(file, options.categoryQuotes, signal)) rows.push([landmarkId, category]);
  await database.append(table, rows);
}

async function loadCsv(database: Database, found: FoundFile, options: LoadOptions, signal?: AbortSignal): Promise<void> {
  const { file, path, header } = found;
  const unique = options.allowsRepeated ? undefined : file.unique;
  const table = tableOf[found.key];
  const types = header.map((name) => `${literal(name)}: 'VARCHAR'`).join(', ');
  const source = `read_csv(${pathLiteral(path)}, header = true, delim = ',', quote = '"', escape = '"', auto_detect = false, compression = '${found.isGzip ? 'gzip' : 'none'}', columns = {${types}})`;
  const columns = file.columns.map((column) => `"${column.name}"`).join(', ');
  try {
    await database.run(`create table ${table} as select ${columns} from ${source}`);
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

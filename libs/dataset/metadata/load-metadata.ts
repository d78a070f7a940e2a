import type { CategoryQuotes } from '@cairn/contract';
import { allEnded } from '../all-ended.ts';
import type { Database } from '../duckdb.ts';
import { count, literal, pathLiteral } from '../duckdb.ts';
import type { MetadataFileKey } from './files.ts';
import type { FoundFile } from './find-metadata.ts';
import { badRowError, locateBadRow } from './locate-bad-row.ts';
import type { CategoryRow } from './read-categories.ts';
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
  const isCategories = (key: MetadataFileKey) => key === 'trainCategory' || key === 'indexCategory';
  const categories: [FoundFile, CategoryRow[]][] = [];
  const readAllCategories = async (): Promise<void> => {
    for (const [key, file] of found) if (isCategories(key)) categories.push([file, await categoryRows(file, options, signal)]);
  };
  const loadOthers = async (): Promise<void> => {
    for (const [key, file] of found) if (!isCategories(key)) await loadCsv(database, file, options, signal);
  };
  // Categories are read here, the other files on DuckDB's threads.
  await allEnded([readAllCategories(), loadOthers()]);
  for (const [file, rows] of categories) await storeCategories(database, tableOf[file.key], rows);
  const counts = new Map<MetadataFileKey, number>();
  for (const key of found.keys()) {
    const [answer] = await database.rows(`select count(*) as n from ${tableOf[key]}`);
    counts.set(key, count(answer?.n));
  }
  return counts;
}

/** At most one row a landmark (203,094): few enough to be held at once. */
async function categoryRows(file: FoundFile, options: LoadOptions, signal?: AbortSignal): Promise<CategoryRow[]> {
  return await Array.fromAsync(readCategories(file, options.categoryQuotes, signal));
}

async function storeCategories(database: Database, table: string, rows: readonly CategoryRow[]): Promise<void> {
  await database.run(`create table ${table} (landmark_id varchar, category varchar)`);
  await database.append(
    table,
    rows.map(({ landmarkId, category }) => [landmarkId, category]),
  );
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

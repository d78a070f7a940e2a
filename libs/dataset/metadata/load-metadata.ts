import { CairnError, type CategoryQuotes } from '@cairn/contract';
import { count, type Database, literal, pathLiteral } from '../duckdb.ts';
import type { MetadataFileKey } from './files.ts';
import type { TakenFile } from './find-metadata.ts';
import { badRowError, locateBadRow } from './locate-bad-row.ts';
import { metadataLimits } from './take-in.ts';
import { csvFields, decoded, textLines } from './text-lines.ts';

/** The table that each file becomes: its rows in file order (rowid counts them from 0), with the columns as text. */
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

type LoadOptions = {
  categoryQuotes: CategoryQuotes;
  /** Allows duplicate ids, for counting them. */
  allowsRepeated?: boolean;
};

/**
 * Loads the metadata files into tables and checks every row of them. Returns the rows of each file.
 *
 * @throws CairnError `bad_row` naming file, line and column of the first invalid row.
 */
export async function loadMetadata(
  database: Database,
  found: ReadonlyMap<MetadataFileKey, TakenFile>,
  options: LoadOptions,
  signal?: AbortSignal,
): Promise<Map<MetadataFileKey, number>> {
  const counts = new Map<MetadataFileKey, number>();
  for (const [key, file] of found) {
    const isCategories = key === 'trainCategory' || key === 'indexCategory';
    await (isCategories ? loadCategories(database, file, options, signal) : loadCsv(database, file, options, signal));
    const [answer] = await database.rows(`select count(*) as n from ${tableOf[key]}`);
    counts.set(key, count(answer?.n));
  }
  return counts;
}

/** The limits for lines of copied files. */
const lineLimits = `max_line_size = ${metadataLimits.lineBytes + 2}, buffer_size = ${2 * metadataLimits.lineBytes + 4}`;

const separator = '\u0001';

async function loadCategories(database: Database, found: TakenFile, options: LoadOptions, signal?: AbortSignal): Promise<void> {
  const table = tableOf[found.key];
  const { landmarkId, category } = categoryCells(options.categoryQuotes);
  requireCategoryColumns(found);
  try {
    // One column with the whole line: text does not contain the separator.
    const lines = `read_csv(${pathLiteral(found.copy)}, header = false, skip = 1, delim = chr(${separator.charCodeAt(0)}), quote = '', escape = '', auto_detect = false,
      ${lineLimits}, columns = {line: 'VARCHAR'})`;
    await database.run(
      `create table ${table} as select ${landmarkId} as landmark_id, ${category} as category
       from (select trim(line, chr(9) || chr(13) || ' ') as line from ${lines}) where line <> ''`,
    );
  } catch (error) {
    signal?.throwIfAborted();
    await refuseBadCategories(found, options.categoryQuotes, signal);
    throw refusedByDatabase(found, error);
  }
  const [answer] = await database.rows(
    `select count(*) as bad from ${table} where not regexp_full_match(landmark_id, ${literal(landmarkPattern)}) or coalesce(category, '') = ''`,
  );
  if (count(answer?.bad) === 0) return;
  await refuseBadCategories(found, options.categoryQuotes, signal);
  throw notFound(found, count(answer?.bad));
}

async function loadCsv(database: Database, found: TakenFile, options: LoadOptions, signal?: AbortSignal): Promise<void> {
  const { file, copy, header } = found;
  const unique = options.allowsRepeated ? undefined : file.unique;
  const table = tableOf[found.key];
  // By position: a header may have an empty name, or names that differ only in case, which are the same in SQL.
  const types = header.map((_, i) => `c${i}: 'VARCHAR'`).join(', ');
  const reader = `read_csv(${pathLiteral(copy)}, header = false, skip = 1, delim = ',', quote = '"', escape = '"', auto_detect = false,
    allow_quoted_nulls = false, ${lineLimits}, columns = {${types}})`;
  const columns = file.columns.map(({ name }) => `c${header.indexOf(name)} as "${name}"`).join(', ');
  // An empty line is not a row; with several columns the reader itself skips it.
  const rows = header.length === 1 ? `${reader} where c0 is not null` : reader;
  try {
    await database.run(`create table ${table} as select ${columns} from ${rows}`);
  } catch (error) {
    signal?.throwIfAborted();
    const bad = await locateBadRow({ ...found, unique }, signal);
    throw bad ? badRowError(bad) : refusedByDatabase(found, error);
  }
  const [answer] = await database.rows(`select count(*) as bad from ${table} where ${brokenRules(found)}`);
  const repeated =
    unique === undefined ? [] : await database.rows(`select 1 from ${table} group by "${unique}" having count(*) > 1 limit 1`);
  if (count(answer?.bad) === 0 && repeated.length === 0) return;
  const bad = await locateBadRow({ ...found, unique }, signal);
  throw bad ? badRowError(bad) : notFound(found, count(answer?.bad));
}

/** An error that only the database's reader finds: reported with its line. Its own message quotes the line. */
function refusedByDatabase({ file, path }: TakenFile, error: unknown): unknown {
  const words = error instanceof Error ? error.message : '';
  // A machine fault: no memory, no disk.
  if (/^(Out of Memory|IO) Error/.test(words)) return error;
  const line = /^CSV Error on Line: (\d+)/m.exec(words)?.[1];
  if (line === undefined)
    return new CairnError('bad_row', `${path} cannot be read as CSV: write the file again`, { details: { file: file.name, path } });
  return badRowError({ file: file.name, path, line: Number(line), column: null, columnNumber: 1, expected: 'a row of CSV' });
}

function notFound({ file, path }: TakenFile, rows: number): CairnError {
  const message = `${path}: ${rows} rows are invalid for ${file.name}, but none can be located: write the file again, one row per line`;
  return new CairnError('bad_row', message, { details: { file: file.name, path, rows } });
}

/** The SQL condition for rows that violate a rule of the file. */
function brokenRules(found: TakenFile): string {
  const broken = found.file.columns.map((rule) => `not regexp_full_match(coalesce("${rule.name}", ''), ${literal(rule.pattern)})`);
  if (found.key === 'solution') broken.push(`("Usage" <> 'Ignored' and coalesce("images", 'None') = 'None')`);
  return broken.join(' or ');
}

const prefix = 'http://commons.wikimedia.org/wiki/Category:';
const quoted = literal(`"${prefix}`);
const plain = literal(prefix);

/** A complete landmark id. */
const landmarkPattern = '[0-9A-Za-z_.-]+';

/**
 * SQL that parses a line of train_label_to_category.csv or index_label_to_category.csv. The category is the text after Wikimedia's prefix,
 * null if it is invalid. The reference (tools/generate_gld_list.py) reads line by line and removes only the closing quote of a quoted
 * category, so inner quotes stay doubled; with `csv` the cell is read according to RFC 4180. This text is the join key between train and
 * index.
 */
function categoryCells(quotes: CategoryQuotes): { landmarkId: string; category: string } {
  const landmarkId = "split_part(line, ',', 1)";
  const cell = "line[length(split_part(line, ',', 1)) + 2 :]";
  const inQuotes = `${cell}[length(${quoted}) + 1 : -2]`;
  const inQuotesRead = `case when regexp_full_match(${inQuotes}, '([^"]|"")*') and ends_with(line, '"') then replace(${inQuotes}, '""', '"') end`;
  const bare = `${cell}[length(${plain}) + 1 :]`;
  const bareRead = `case when not regexp_matches(${bare}, '[",]') then ${bare} end`;
  return {
    landmarkId,
    category: `case when starts_with(${cell}, ${quoted}) then ${quotes === 'csv' ? inQuotesRead : inQuotes}
      when starts_with(${cell}, ${plain}) then ${quotes === 'csv' ? bareRead : bare} end`,
  };
}

/** @throws CairnError `missing_column` if there are other columns: the lines are not read as CSV. */
function requireCategoryColumns({ file, path, header }: TakenFile): void {
  if (header.join(',') === 'landmark_id,category') return;
  const message = `${path} is read line by line: expected exactly the columns landmark_id, category in its first line`;
  throw new CairnError('missing_column', message, {
    details: { file: file.name, path, expected: ['landmark_id', 'category'] },
  });
}

/**
 * Reads the file again to find the first line without a category.
 *
 * @throws CairnError `bad_row`; returns if there is no such line.
 */
async function refuseBadCategories(found: TakenFile, quotes: CategoryQuotes, signal?: AbortSignal): Promise<void> {
  const { file, path, copy } = found;
  for await (const line of textLines(copy, signal)) {
    const text = decoded(line)?.trim();
    if (line.number === 1 || text === '') continue;
    const bad = (columnNumber: 1 | 2, expected: string): CairnError => {
      const column = columnNumber === 1 ? 'landmark_id' : 'category';
      return badRowError({ file: file.name, path, line: line.number, column, columnNumber, expected });
    };
    if (text === undefined) throw bad(1, 'UTF-8 text');
    if (!new RegExp(`^${landmarkPattern}$`).test(text.split(',')[0] ?? '')) throw bad(1, 'a landmark id');
    if (text.includes(separator)) throw bad(2, 'text without control characters');
    if (!hasCategory(text, quotes)) throw bad(2, `${prefix} and a name${quotes === 'csv' ? ', quoted if it has commas or quotes' : ''}`);
  }
}

function hasCategory(line: string, quotes: CategoryQuotes): boolean {
  const fields = csvFields(line).fields ?? [];
  if (quotes === 'csv') return fields.length === 2 && fields[1]?.startsWith(prefix) === true && fields[1].length > prefix.length;
  const cell = line.slice(line.indexOf(',') + 1);
  return line.includes(',') && (cell.startsWith(prefix) ? cell.length > prefix.length : isQuotedCategory(cell));
}

function isQuotedCategory(cell: string): boolean {
  return cell.startsWith(`"${prefix}`) && cell.length > prefix.length + 2;
}

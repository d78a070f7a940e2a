import { CairnError, type CategoryQuotes } from '@cairn/contract';
import { literal } from '../duckdb.ts';
import { csvFields } from './csv-fields.ts';
import type { TakenFile } from './find-metadata.ts';
import { badRowError } from './locate-bad-row.ts';
import { decoded, textLines } from './text-lines.ts';

const prefix = 'http://commons.wikimedia.org/wiki/Category:';
const quoted = literal(`"${prefix}`);
const plain = literal(prefix);

/** A complete landmark id. */
export const landmarkPattern = '[0-9A-Za-z_.-]+';

/**
 * SQL that parses a line of train_label_to_category.csv or index_label_to_category.csv. The category is the text after Wikimedia's prefix,
 * null if it is invalid. The reference (tools/generate_gld_list.py) reads line by line and removes only the closing quote of a quoted
 * category, so inner quotes stay doubled; with `csv` the cell is read according to RFC 4180. This text is the join key between train and
 * index.
 */
export function categoryCells(quotes: CategoryQuotes): { landmarkId: string; category: string } {
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
export function requireCategoryColumns({ file, path, header }: TakenFile): void {
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
export async function refuseBadCategories(found: TakenFile, quotes: CategoryQuotes, signal?: AbortSignal): Promise<void> {
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

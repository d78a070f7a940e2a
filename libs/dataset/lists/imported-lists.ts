import { CairnError, continents, type ListName } from '@cairn/contract';
import { count, type Database, literal, pathLiteral, text } from '../duckdb.ts';
import type { FileGate } from '../file-gate.ts';
import { below, imageIdPattern, imageSplits, memberPathSql } from '../folders.ts';
import { searchLists } from '../metadata/files.ts';
import type { RowTable } from './definitions.ts';

/** In the metadata folder: the output of `cairn import lists --out METADATA/imported`. */
export const importedFolder = 'imported/lists';

/** An imported list, read from a copy; `path` is the original, for messages. */
export type TakenList = { path: string; copy: string };

/** The imported lists in the metadata folder, by name. The lists for the search are always made from the ground truths. */
export async function findImportedLists(metadata: string, lists: readonly ListName[], gate: FileGate): Promise<Map<ListName, string>> {
  const found = new Map<ListName, string>();
  for (const list of lists) {
    const path = below(metadata, importedFolder, `${list}.parquet`);
    if (!searchLists.includes(list) && (await gate.isFile(path))) found.set(list, path);
  }
  return found;
}

/** The rows of an imported list in its order, with its own labels and continents. */
export function importedTable(list: ListName, path: string): RowTable {
  return {
    name: `rows_of_${list}`,
    hasContinents: true,
    blocks: [
      {
        rows: `select file_row_number as pos, image_id, string_split(path, '/')[1] as split, label, noisy, continent
               from read_parquet(${pathLiteral(path)}, file_row_number = true)`,
      },
    ],
  };
}

/** SQL of the classes of an imported list: one more than its largest label. */
export const importedClasses = (path: string): string => `select coalesce(max(label) + 1, 0) as n from read_parquet(${pathLiteral(path)})`;

/** GLDv2's largest list has 5 million. */
const largestList = 100_000_000;

const columns = ['image_id', 'path', 'label', 'noisy', 'continent'];

/**
 * Checks an imported list before it is used.
 *
 * @throws CairnError `missing_column`, `bad_row` with the file and the first invalid row (from 0).
 */
export async function checkImportedList(database: Database, { path, copy }: TakenList, mostRows = largestList): Promise<void> {
  const file = pathLiteral(copy);
  // Before they are read: a few bytes of Parquet can have billions of rows.
  const [head] = await readable(path, database.rows(`select sum(num_rows) as n from parquet_file_metadata(${file})`));
  if (count(head?.n ?? 0) > mostRows) {
    const message = `${path} has ${count(head?.n ?? 0)} rows; a list has at most ${mostRows}`;
    throw new CairnError('bad_row', message, { details: { path, mostRows } });
  }
  const described = await readable(path, database.rows(`describe select * from read_parquet(${file})`));
  const names = described.map((row) => text(row.column_name));
  const missing = columns.filter((name) => !names.includes(name));
  if (missing.length > 0) {
    const message = `${path} lacks the column ${missing.join(', ')}: expected ${columns.join(', ')}`;
    throw new CairnError('missing_column', message, { details: { path, expected: columns, missing } });
  }
  const paths = imageSplits.map((split) => `path = '${split}/' || ${memberPathSql('image_id')}`).join(' or ');
  const isRow = `regexp_full_match(image_id, '${imageIdPattern.source.slice(1, -1)}') and (${paths}) and label >= -1 and noisy in (0, 1)
    and coalesce(continent, 'OTHER') in (${continents.map(literal).join(', ')})`;
  const [bad] = await readable(
    path,
    database.rows(
      `select file_row_number as row from read_parquet(${file}, file_row_number = true) where (${isRow}) is not true order by 1 limit 1`,
    ),
  );
  if (bad === undefined) return;
  const message = `${path}, row ${count(bad.row)}: it needs an id, its path split/a/b/c/ID.jpg, a label of -1 or more, 0 or 1 for noisy, and as its continent null or one of ${continents.join(', ')}`;
  throw new CairnError('bad_row', message, { details: { path, row: count(bad.row) } });
}

/** Without the cause, whose message may quote the file. */
async function readable<T>(path: string, work: Promise<T>): Promise<T> {
  return work.catch(() => {
    throw new CairnError('bad_row', `${path} cannot be read as Parquet with these columns: import the list again`, { details: { path } });
  });
}

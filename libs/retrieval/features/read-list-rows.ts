import type { Parquet } from '../parquet/open-parquet.ts';

/** An image of a list. For a tar source `tar`, `offset` and `size` tell where its bytes lie; otherwise they are null. */
export type ListRow = { imageId: string; path: string; tar: string | null; offset: number | null; size: number | null };

export type ListRange = {
  path: string;
  /** The first distinct image wanted, from 0. */
  from?: number;
  /** How many; all that follow when not given. */
  count?: number;
};

/**
 * The images of a list in the order of its rows, each id once, at its first row: a list that gives an image several labels
 * repeats it, and features are extracted once. `from` and `count` count distinct images. Throws `corrupt_artifact` where the
 * file is no list.
 */
export async function readListRows(parquet: Parquet, { path, from = 0, count }: ListRange, signal?: AbortSignal): Promise<ListRow[]> {
  const columns = await columnsOf(parquet, path, signal);
  const optional = (name: string) => (columns.has(name) ? `"${name}"` : `null as "${name}"`);
  const sql = `
    with rows as (from read_parquet($path, file_row_number = true)),
    firsts as (
      select min(file_row_number) as first_row from rows group by image_id
      order by first_row limit ${count === undefined ? 'all' : '$count'} offset $from
    )
    select image_id, path, ${['tar', 'offset', 'size'].map(optional).join(', ')}
    from rows join firsts on file_row_number = first_row
    order by file_row_number`;
  const parameters = count === undefined ? { from } : { from, count };
  const table = await parquet.query({ path, sql, parameters }, signal);
  const [ids, paths] = [table.text('image_id'), table.text('path')];
  const [tars, offsets, sizes] = [table.textOrNull('tar'), table.integerOrNull('offset'), table.integerOrNull('size')];
  return ids.map((imageId, row) => ({
    imageId,
    path: paths[row] ?? '',
    tar: tars[row] ?? null,
    offset: offsets[row] ?? null,
    size: sizes[row] ?? null,
  }));
}

async function columnsOf(parquet: Parquet, path: string, signal?: AbortSignal): Promise<Set<string>> {
  const table = await parquet.query({ path, sql: 'select name from parquet_schema($path)' }, signal);
  return new Set(table.textOrNull('name').flatMap((name) => (name === null ? [] : [name])));
}

import { columnNames, type Parquet } from '../parquet/open-parquet.ts';

/** An image of a list. For a tar source `tar`, `offset` and `size` locate its bytes; otherwise they are null. */
export type ListRow = {
  imageId: string;
  path: string;
  tar: string | null;
  offset: number | null;
  size: number | null;
  /** Size and modification time of the image's file, or of its tar, during `prepare`: null if it did not exist, absent if the list has no such columns. */
  fileBytes?: number | null;
  fileChangedMs?: number | null;
};

export type ListRange = {
  path: string;
  /** The first distinct image to read, from 0. */
  from?: number;
  /** Number of images; by default all that follow. */
  count?: number;
};

/**
 * The images of a list in the order of its rows, each id once, at its first row: a list repeats images with several labels, and features
 * are extracted once. `from` and `count` count distinct images. Throws `corrupt_artifact` if the file is not a list.
 *
 * With the column `image_number` only the row groups with these images are read. Without it, as in a list that was not made by `prepare`,
 * the images are numbered in a pass over the ids of the whole list.
 */
export async function readListRows(parquet: Parquet, { path, from = 0, count }: ListRange, signal?: AbortSignal): Promise<ListRow[]> {
  const columns = await columnNames(parquet, path, signal);
  const optional = (name: string) => (columns.has(name) ? `"${name}"` : `null as "${name}"`);
  const hasFiles = columns.has('file_bytes') && columns.has('file_changed_ms');
  const rows = 'read_parquet($path, file_row_number = true)';
  const numbered = columns.has('image_number') ? `from ${rows}` : `from ${rows} join (${numbersOf(rows)}) using (image_id)`;
  const sql = `
    select image_id, path, ${['tar', 'offset', 'size', 'file_bytes', 'file_changed_ms'].map(optional).join(', ')}
    from (${numbered})
    where image_number >= $from ${count === undefined ? '' : 'and image_number < $from + $count'}
    qualify row_number() over (partition by image_number order by file_row_number) = 1
    order by image_number`;
  const parameters = count === undefined ? { from } : { from, count };
  const table = await parquet.query({ path, sql, parameters }, signal);
  const [ids, paths] = [table.text('image_id'), table.text('path')];
  const [tars, offsets, sizes] = [table.textOrNull('tar'), table.integerOrNull('offset'), table.integerOrNull('size')];
  const [bytes, changes] = [table.integerOrNull('file_bytes'), table.integerOrNull('file_changed_ms')];
  return ids.map((imageId, row) => ({
    imageId,
    path: paths[row] ?? '',
    tar: tars[row] ?? null,
    offset: offsets[row] ?? null,
    size: sizes[row] ?? null,
    ...(hasFiles ? { fileBytes: bytes[row] ?? null, fileChangedMs: changes[row] ?? null } : {}),
  }));
}

/** The number of each image, from 0 in the order of first appearance. */
function numbersOf(rows: string): string {
  return `select image_id, row_number() over (order by min(file_row_number)) - 1 as image_number from ${rows} group by image_id`;
}

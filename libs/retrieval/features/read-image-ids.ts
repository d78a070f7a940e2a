import type { Parquet } from '../parquet/open-parquet.ts';

/** The ids of a list, row by row, with duplicates. Works for any Parquet file with a column `image_id`. */
export async function readImageIds(parquet: Parquet, path: string, signal?: AbortSignal): Promise<string[]> {
  const sql = 'select image_id from read_parquet($path, file_row_number = true) order by file_row_number';
  return (await parquet.query({ path, sql }, signal)).text('image_id');
}

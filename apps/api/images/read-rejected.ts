import type { RejectedImageView } from '@cairn/contract';
import type { RejectedFile } from '@cairn/db';
import { z } from 'zod';
import type { StoredTables } from './list-rows.ts';

const rejectedRow = z.object({ image_id: z.string(), path: z.string(), reason: z.string() });

/**
 * Images of these files in order, from the row `skip` of the first on, at most `limit`; and the place of the next one, which is null after
 * the last of these files.
 */
export async function readRejected(
  tables: StoredTables,
  files: readonly RejectedFile[],
  { skip, limit }: { skip: number; limit: number },
): Promise<{ items: RejectedImageView[]; next: [shard: number, row: number] | null }> {
  const items: RejectedImageView[] = [];
  for (const [at, file] of files.entries()) {
    const from = at === 0 ? skip : 0;
    const room = limit - items.length;
    if (room === 0) return { items, next: [file.shard, from] };
    const sql = `select to_json(r)::varchar as row from (select image_id, path, reason from read_parquet($path, file_row_number = true)
      order by file_row_number limit $room offset $from) r`;
    const rows = await tables.query(file, rejectedRow, sql, { room, from });
    items.push(...rows.map(({ image_id: imageId, path, reason }) => ({ imageId, path, reason, shard: file.shard })));
    if (rows.length === room && from + room < file.count) return { items, next: [file.shard, from + room] };
  }
  return { items, next: null };
}

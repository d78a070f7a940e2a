import { CairnError } from '@cairn/contract';
import type { ArtifactFile } from '@cairn/db';
import type { Parquet } from '@cairn/retrieval/scores';
import type { Closer } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { z } from 'zod';
import { imageLocation } from '../compute/messages.ts';
import type { FileCache } from '../file-cache.ts';

/** A row of a list, as far as the api reads it. Lists of earlier releases lack some of it. */
const listRow = z.object({
  image_id: z.string(),
  path: z.string(),
  label: z.number().int().nullish(),
  image_number: z.number().int().nullish(),
  ...imageLocation.pick({ tar: true, offset: true, size: true }).shape,
  file_bytes: z.number().nullish(),
  file_changed_ms: z.number().nullish(),
});
export type ListRow = z.infer<typeof listRow>;

export type StoredTables = {
  /**
   * Rows of a Parquet file of an artifact: each is one text of JSON in the column `row`. Throws `corrupt_artifact`, and as the storage
   * does.
   */
  query<T>(file: ArtifactFile, row: z.ZodType<T>, sql: string, parameters?: Readonly<Record<string, string | number>>): Promise<T[]>;
  /** The rows of these images in a list, by id, the first of each. Calls that come while another one is answered are asked together. */
  listRows(list: ArtifactFile, imageIds: readonly string[]): Promise<Map<string, ListRow>>;
};

/** A list of five million images has 300 MB. */
export const maxTableBytes = 600_000_000;
const timeoutMs = 60_000;

/** Reads Parquet files of artifacts, which are kept on the disk of this machine for as long as there is room. */
export function openStoredTables({ store, cache }: { store: ObjectStore; cache: FileCache }, closer: Closer): StoredTables {
  let opening: Promise<Parquet> | null = null;
  closer.add('the reader of tables', async () => (await opening?.catch(() => null))?.close());
  const open = (): Promise<Parquet> => {
    // DuckDB is large: load it only when a table is read.
    opening ??= import('@cairn/retrieval/scores').then(({ openParquet }) => openParquet({ timeoutMs }));
    return opening;
  };

  const query: StoredTables['query'] = async ({ key, bytes, sha256 }, row, sql, parameters = {}) => {
    if (bytes > maxTableBytes) {
      throw new CairnError('invalid_request', `${key} has ${bytes} bytes; the service reads tables of at most ${maxTableBytes}`, {
        details: { remedy: 'Copy the file from the object storage, and query it with DuckDB.' },
      });
    }
    const parquet = await open();
    const download = async (path: string): Promise<void> => void (await store.download(key, path, { sha256 }));
    const table = await cache.using(`${key} ${sha256}`, download, (path) => parquet.query({ path, sql, parameters }));
    return table.text('row').map((text) => row.parse(JSON.parse(text)));
  };

  const batches = new Map<string, { ids: Set<string>; rows: Promise<ListRow[]> }>();
  let last: Promise<unknown> = Promise.resolve();

  function batchOf(list: ArtifactFile): { ids: Set<string>; rows: Promise<ListRow[]> } {
    const waiting = batches.get(list.key);
    if (waiting !== undefined) return waiting;
    const ids = new Set<string>();
    const rows = last.then(() => {
      batches.delete(list.key);
      const sql = `select to_json(l)::varchar as row from read_parquet($path) l where image_id in (select unnest(string_split($ids, ' ')))`;
      return query(list, listRow, sql, { ids: [...ids].join(' ') });
    });
    last = rows.catch(() => undefined);
    const batch = { ids, rows };
    batches.set(list.key, batch);
    return batch;
  }

  return {
    query,
    async listRows(list, imageIds) {
      const batch = batchOf(list);
      for (const id of imageIds) batch.ids.add(id);
      const found = new Map<string, ListRow>();
      const wanted = new Set(imageIds);
      for (const row of await batch.rows) if (wanted.has(row.image_id) && !found.has(row.image_id)) found.set(row.image_id, row);
      return found;
    },
  };
}

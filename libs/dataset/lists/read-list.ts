import type { Cell } from '../duckdb.ts';
import { count, openDatabase, pathLiteral, text } from '../duckdb.ts';

/** A row of a list. `tar`, `offset` and `size` are null if the source is a folder, or the image is not in a tar. */
export type ListRow = {
  imageId: string;
  path: string;
  label: number;
  noisy: boolean;
  country: string | null;
  continent: string | null;
  /** From 0, the list's distinct images in order of first appearance. */
  imageNumber: number;
  tar: string | null;
  offset: number | null;
  size: number | null;
  /** Size and modification time of the image's file, or its tar, when the list was made; null if it did not exist or was not recorded. */
  fileBytes: number | null;
  fileChangedMs: number | null;
};

const textOrNull = (value: Cell | undefined): string | null => (typeof value === 'string' ? value : null);
const numberOrNull = (value: Cell | undefined): number | null => (typeof value === 'number' ? value : null);

/**
 * The rows of a list (a Parquet file of {@link prepareLists}), in its order, in chunks of a few thousand; from row `from` (0-based), at
 * most `limit` rows if given.
 */
export async function* readList(
  path: string,
  options: { from?: number; limit?: number; signal?: AbortSignal } = {},
): AsyncGenerator<ListRow[]> {
  const { from = 0, limit, signal } = options;
  const database = await openDatabase({ memoryLimitMiB: 256, threads: 1, ...(signal ? { signal } : {}) });
  try {
    const part = `${limit === undefined ? '' : `limit ${Math.trunc(limit)}`} offset ${Math.trunc(from)}`;
    for await (const rows of database.stream(`select * from read_parquet(${pathLiteral(path)}) ${part}`)) {
      yield rows.map((row) => ({
        imageId: text(row.image_id),
        path: text(row.path),
        label: count(row.label),
        noisy: count(row.noisy) === 1,
        country: textOrNull(row.country),
        continent: textOrNull(row.continent),
        imageNumber: count(row.image_number),
        tar: textOrNull(row.tar),
        offset: numberOrNull(row.offset),
        size: numberOrNull(row.size),
        fileBytes: numberOrNull(row.file_bytes),
        fileChangedMs: numberOrNull(row.file_changed_ms),
      }));
    }
  } finally {
    database.close();
  }
}

/** A row of ground_truth.parquet: `imageId` is a ground truth of `queryId`. */
export type GroundTruthRow = { queryId: string; imageId: string; usage: 'Public' | 'Private' };

/** The rows of ground_truth.parquet in file order, in chunks of a few thousand. */
export async function* readGroundTruth(path: string, signal?: AbortSignal): AsyncGenerator<GroundTruthRow[]> {
  const database = await openDatabase({ memoryLimitMiB: 256, threads: 1, ...(signal ? { signal } : {}) });
  try {
    for await (const rows of database.stream(`select query_id, image_id, usage from read_parquet(${pathLiteral(path)})`)) {
      yield rows.map((row) => ({
        queryId: text(row.query_id),
        imageId: text(row.image_id),
        usage: row.usage === 'Public' ? 'Public' : 'Private',
      }));
    }
  } finally {
    database.close();
  }
}

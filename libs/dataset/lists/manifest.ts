import type { CategoryQuotes, ImageSource, LabelSizes, ListName, ListSample } from '@cairn/contract';
import type { FileDigest } from '../digests.ts';
import { type Cell, count, openDatabase, pathLiteral, text } from '../duckdb.ts';
import type { ImageSplit } from '../folders.ts';

/** The source of the images: a tree `split/a/b/c/id.jpg`, or the tars `split/images_NNN.tar`. */
export type ImageRoot = Pick<ImageSource, 'kind' | 'root'>;

/** A written file: its path relative to the manifest. */
export type WrittenFile = FileDigest & { path: string };

export type ListEntry = WrittenFile & {
  rows: number;
  /** Distinct image ids: fewer than rows if images have several labels. */
  images: number;
  /** Distinct labels that occur, without -1. */
  labels: number;
  /** Classes of the list's label space (its largest possible label + 1); null when the metadata gives no labels. */
  classes: number | null;
  /** Rows with noisy 1. */
  noisy: number;
  /** Rows with label -1. */
  unlabelled: number;
  /** Rows whose image is not in a tar or the folder; null for a folder that was not listed. */
  missingImages: number | null;
  /** The paths of the first of them. */
  missingExamples: string[];
  /** Rows by label; null for a list without labels. */
  labelSizes: LabelSizes | null;
  /** Images to look at. */
  samples: ListSample[];
  /**
   * SHA-256 of the sorted distinct image ids, one per line: the gallery digest of an evaluation that could read every image. Null for
   * training lists.
   */
  imagesDigest: string | null;
  /** SHA-256 of the paths and md5s of the tars that contain its rows; null for images in folders. */
  tarsDigest: string | null;
  /** The same rows as CSV without a header (path, label, noisy, continent or `null`), if requested. */
  text: WrittenFile | null;
};

export type GroundTruthEntry = WrittenFile & {
  /** One row per query and ground-truth image. */
  rows: number;
  queries: number;
  /** Rows whose image is not in index.csv; null when index.csv was not read. */
  notInIndex: number | null;
};

export type TarIndexEntry = WrittenFile & {
  tars: { tar: string; bytes: number; md5: string; md5Checked: boolean; images: number; unindexed: number }[];
};

/** manifest.json of the lists: inputs and outputs. It is written last. */
export type ListsManifest = {
  format: 'cairn-lists';
  version: 1;
  lists: Partial<Record<ListName, ListEntry>>;
  groundTruth: GroundTruthEntry | null;
  /** Indexes of the tars by split; null for folders. */
  tars: Partial<Record<ImageSplit, TarIndexEntry>> | null;
  source: ImageRoot['kind'];
  testSeed: number;
  categoryQuotes: CategoryQuotes;
  /** The files read, by name (`train.csv`, `train.csv.gz`, `countries/JP.json`). */
  inputs: Record<string, FileDigest & { rows: number | null }>;
};

export const listsManifestName = 'manifest.json';

/** A row of a list. `tar`, `offset` and `size` are null if the source is a folder, or the image is not in a tar. */
export type ListRow = {
  imageId: string;
  path: string;
  label: number;
  noisy: boolean;
  country: string | null;
  continent: string | null;
  /** From 0, the list's distinct images in order of first appearance, in tars in the order of their places. */
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

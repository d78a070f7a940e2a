import type { CategoryQuotes, ImageSource, ListName } from '@cairn/contract';
import type { FileDigest } from '../digests.ts';
import type { ImageSplit } from '../image-path.ts';

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

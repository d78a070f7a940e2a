import type { CategoryQuotes, ImageSource, ListName } from '@cairn/contract';
import type { FileDigest } from '../digests.ts';
import type { ImageSplit } from '../image-path.ts';

/** Where images are read from: a tree `split/a/b/c/id.jpg`, or the tars `split/images_NNN.tar`. */
export type ImageRoot = Pick<ImageSource, 'kind' | 'root'>;

/** A written file: its path relative to the manifest. */
export type WrittenFile = FileDigest & { path: string };

export type ListEntry = WrittenFile & {
  rows: number;
  /** Distinct image ids: fewer than rows where an image has several labels. */
  images: number;
  /** Distinct labels that occur, -1 not counted. */
  labels: number;
  /** Classes of the list's label space (its largest possible label + 1); null when the metadata gives no labels. */
  classes: number | null;
  /** Rows with noisy 1. */
  noisy: number;
  /** Rows with label -1. */
  unlabelled: number;
  /** Rows whose image is in no tar, or not in the folder; null for a folder that was not listed. */
  missingImages: number | null;
  /**
   * SHA-256 of the sorted distinct image ids, one a line: the gallery digest of an evaluation that could read every image. Null for lists
   * that are trained on.
   */
  imagesDigest: string | null;
  /** SHA-256 of the paths and md5s of the tars that its rows lie in; null for images in folders. */
  tarsDigest: string | null;
  /** The same rows as CSV without a header (path, label, noisy, continent or `null`), where it was asked for. */
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

/** manifest.json beside the lists: what was made of what. It is written last. */
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

import { z } from 'zod';

/**
 * Names of the files of a feature set. It has the layout of clip-retrieval and embedding-reader: `img_emb/img_emb_00042.npy` and
 * `metadata/metadata_00042.parquet`, joined by position. Those tools read every file in these two folders, so there must be no others.
 */
export const featureFolders = { embeddings: 'img_emb', metadata: 'metadata', rejected: 'rejected' } as const;
export type FeatureFile = keyof typeof featureFolders;

const extension: Record<FeatureFile, string> = { embeddings: 'npy', metadata: 'parquet', rejected: 'parquet' };

/** The path of a part's file below the folder of its feature set; `part` counts from 0. */
export function partFile(kind: FeatureFile, part: number): string {
  if (!Number.isInteger(part) || part < 0) throw new RangeError(`a part number must be a non-negative integer, not ${part}`);
  const folder = featureFolders[kind];
  return `${folder}/${folder}_${String(part).padStart(5, '0')}.${extension[kind]}`;
}

/** The path of a shard's file below the folder of an artifact of tags. */
export function tagsFile(part: number): string {
  return `tags/tags_${String(part).padStart(5, '0')}.parquet`;
}

/** The part number in a file's name, or null for any other name. */
export function partOf(kind: FeatureFile, name: string): number | null {
  const digits = new RegExp(`^${featureFolders[kind]}_(\\d{5,})\\.${extension[kind]}$`).exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/**
 * What a feature set's `manifest.json` may tell of how it was made, in its `details`: the digest of the model, and the preprocessing of the images. Sets with
 * different ones are not to be compared. Unknown keys are passed over, and a set may tell nothing.
 */
export const featureSetManifest = z.object({
  details: z.object({ model: z.string().nullish(), preprocessing: z.string().nullish() }).default({}),
});

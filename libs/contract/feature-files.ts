import { z } from 'zod';
import { CairnError } from './errors.ts';

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

/** The path of a shard's file below the folder of an artifact of votes. */
export function votesFile(part: number): string {
  return `votes/votes_${String(part).padStart(5, '0')}.parquet`;
}

/** The path of a shard's file below the folder of an artifact of candidates. */
export function candidatesFile(part: number): string {
  return `candidates/candidates_${String(part).padStart(5, '0')}.parquet`;
}

/** The file of an artifact with a matcher of images. */
export const matcherFile = 'matcher.onnx';

/** The part number in a file's name, or null for any other name. */
export function partOf(kind: FeatureFile, name: string): number | null {
  const digits = new RegExp(`^${featureFolders[kind]}_(\\d{5,})\\.${extension[kind]}$`).exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/**
 * How features were made: the digest of the model, how it was given the images, and the scales over which it averages. Features
 * that differ in one of them must not be compared. Unknown keys are ignored, and a set may tell nothing.
 */
export const featureOrigin = z.object({
  model: z.string().nullish(),
  preprocessing: z.string().nullish(),
  scales: z.array(z.number()).nullish(),
});

/** A feature set's `manifest.json`, as far as a search reads it. */
export const featureSetManifest = z.object({ details: featureOrigin.default({}) });

/** The origin of a feature set; null where it is unknown. */
export type Origin = { model: string | null; preprocessing: string | null; scales: string | null };

/** The origin that the details of a feature set tell. Where the model is known, no scales are one. */
export function originOf(details: unknown): Origin {
  const { model = null, preprocessing = null, scales } = featureOrigin.safeParse(details ?? {}).data ?? {};
  return { model, preprocessing, scales: scales?.join(', ') ?? (model === null ? null : '1') };
}

/** The common origin of feature sets that are compared with each other. Throws `model_mismatch` if two of them differ. */
export function assertOneOrigin(name: string, sets: readonly { set: string; origin: Origin }[]): Origin {
  const agreed: Origin = { model: null, preprocessing: null, scales: null };
  // The model last: one that is exported with another preprocessing is another model too, and the preprocessing says more.
  for (const key of ['preprocessing', 'scales', 'model'] as const) {
    const telling = sets.filter(({ origin }) => origin[key] !== null);
    const [first] = telling;
    const other = telling.find(({ origin }) => origin[key] !== first?.origin[key]);
    if (first !== undefined && other !== undefined) {
      throw new CairnError(
        'model_mismatch',
        `The features of ${name} have different origins: ${first.set} with the ${key} ${first.origin[key]}, ${other.set} with ${other.origin[key]}.`,
        { details: { remedy: 'Use features that one model extracted with one preprocessing and the same scales.' } },
      );
    }
    agreed[key] = first?.origin[key] ?? null;
  }
  return agreed;
}

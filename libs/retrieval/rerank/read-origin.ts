import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, featureSetManifest, manifestName } from '@cairn/contract';

/** The origin of a feature set according to its manifest; null if unknown. */
export type Origin = {
  /** The digest of the model. */
  model: string | null;
  preprocessing: string | null;
};

/** Reads `details` of the set's `manifest.json`. A set without one, such as an imported one, has no known origin. Throws `corrupt_artifact`. */
export async function readOrigin(dir: string): Promise<Origin> {
  const path = join(dir, manifestName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) {
      return { model: null, preprocessing: null };
    }
    throw error;
  }
  try {
    const { details } = featureSetManifest.parse(JSON.parse(text));
    return { model: details.model ?? null, preprocessing: details.preprocessing ?? null };
  } catch (cause) {
    throw new CairnError('corrupt_artifact', `${path} is not the manifest of a feature set. Extract it again.`, { cause });
  }
}

/** The common origin of the feature sets of one model. Throws `model_mismatch` if two of them differ. */
export function assertOneOrigin(name: string, sets: readonly { dir: string; origin: Origin }[]): Origin {
  const agreed: Origin = { model: null, preprocessing: null };
  for (const key of ['model', 'preprocessing'] as const) {
    const telling = sets.filter(({ origin }) => origin[key] !== null);
    const [first] = telling;
    const other = telling.find(({ origin }) => origin[key] !== first?.origin[key]);
    if (first !== undefined && other !== undefined) {
      throw new CairnError(
        'model_mismatch',
        `The features of ${name} have different origins: ${first.dir} with the ${key} ${first.origin[key]}, ${other.dir} with ${other.origin[key]}.`,
        { details: { remedy: 'Use queries, index and references that one model extracted with one preprocessing.' } },
      );
    }
    agreed[key] = first?.origin[key] ?? null;
  }
  return agreed;
}

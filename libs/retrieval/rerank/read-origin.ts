import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, featureSetManifest, manifestName } from '@cairn/contract';

/** How a feature set was made, as far as its manifest tells; null where it does not. */
export type Origin = {
  /** The digest of the model. */
  model: string | null;
  preprocessing: string | null;
};

/** Reads `details` of the set's `manifest.json`. A set without one, such as an imported one, tells nothing. Throws `corrupt_artifact`. */
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

/** What the feature sets of one model agree on. Throws `model_mismatch` where two of them tell different things. */
export function assertOneOrigin(name: string, sets: readonly { dir: string; origin: Origin }[]): Origin {
  const agreed: Origin = { model: null, preprocessing: null };
  for (const key of ['model', 'preprocessing'] as const) {
    const telling = sets.filter(({ origin }) => origin[key] !== null);
    const [first] = telling;
    const other = telling.find(({ origin }) => origin[key] !== first?.origin[key]);
    if (first !== undefined && other !== undefined) {
      throw new CairnError(
        'model_mismatch',
        `The features of ${name} were not made alike: ${first.dir} with the ${key} ${first.origin[key]}, ${other.dir} with ${other.origin[key]}.`,
        { details: { remedy: 'Give queries, index and references that one model extracted with one preprocessing.' } },
      );
    }
    agreed[key] = first?.origin[key] ?? null;
  }
  return agreed;
}

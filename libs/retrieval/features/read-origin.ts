import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, featureSetManifest, manifestName, type Origin, originOf } from '@cairn/contract';

/** The origin of each feature set, for `assertOneOrigin`. */
export function readOrigins(folders: readonly string[]): Promise<{ set: string; origin: Origin }[]> {
  return Promise.all(folders.map(async (set) => ({ set, origin: await readOrigin(set) })));
}

/** Reads `details` of the set's `manifest.json`. A set without one, such as an imported one, has no known origin. Throws `corrupt_artifact`. */
async function readOrigin(dir: string): Promise<Origin> {
  const path = join(dir, manifestName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return originOf(null);
    throw error;
  }
  try {
    return originOf(featureSetManifest.parse(JSON.parse(text)).details);
  } catch (cause) {
    throw new CairnError('corrupt_artifact', `${path} is not the manifest of a feature set. Extract it again.`, { cause });
  }
}

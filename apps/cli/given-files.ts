import { stat } from 'node:fs/promises';
import { CairnError, isCairnError } from '@cairn/contract';

/** Work with files that the user gave: a damaged one is at fault, not a storage, and the remedy is to replace it. */
export async function withGivenFiles<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isCairnError(error, 'corrupt_artifact')) throw error;
    throw new CairnError('unreadable_file', error.message, { details: error.details, cause: error });
  }
}

/** Throws `missing_file` unless the file is there. */
export async function requireFile(what: string, path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile()) return;
  throw new CairnError('missing_file', `${what} ${path} ${found === null ? 'does not exist' : 'is not a file'}`, {
    details: { remedy: 'Correct the path.' },
  });
}

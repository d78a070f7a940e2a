import { readdir, stat } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import type { FileGate } from './file-gate.ts';

/**
 * @param what the folder's name in the message, such as `The image folder`
 * @throws CairnError `missing_file` if it does not exist or is a file; `folder_not_allowed` if the gate does not allow it
 */
export async function requireFolder(what: string, path: string, gate?: FileGate): Promise<void> {
  const found = await (gate === undefined ? stat(path) : gate.realPath(path).then(stat)).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw error;
  });
  if (found?.isDirectory()) return;
  const said = found === null ? 'does not exist' : 'is a file, not a folder';
  throw new CairnError('missing_file', `${what} ${path} ${said}: use the path on the machines that run Cairn`, {
    details: { folder: path },
  });
}

/**
 * Call it before an expensive operation that writes to the folder.
 *
 * @param what the future content, such as `the lists`
 * @throws CairnError `name_taken` if the folder is not empty
 */
export async function refuseTaken(path: string, what: string): Promise<void> {
  const entries = await readdir(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  if (entries.length > 0)
    throw new CairnError('name_taken', `${path} is not empty: choose another folder for ${what}`, { details: { out: path } });
}

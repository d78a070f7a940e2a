import { readdir, stat } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import type { FileGate } from './file-gate.ts';

/**
 * @param what how the folder is called in the message, such as `The folder of the images`
 * @throws CairnError `missing_file` where nothing is there, or a file; `folder_not_allowed` where the gate does not lead there
 */
export async function requireFolder(what: string, path: string, gate?: FileGate): Promise<void> {
  const found = await (gate === undefined ? stat(path) : gate.realPath(path).then(stat)).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw error;
  });
  if (found?.isDirectory()) return;
  const said = found === null ? 'does not exist' : 'is a file, not a folder';
  throw new CairnError('missing_file', `${what}, ${path}, ${said}: give the folder as the machines that run Cairn see it`, {
    details: { folder: path },
  });
}

/**
 * Before something is made that takes its time.
 *
 * @param what what the folder is to hold, such as `the lists`
 * @throws CairnError `name_taken` where a folder holds something
 */
export async function refuseTaken(path: string, what: string): Promise<void> {
  const entries = await readdir(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  if (entries.length > 0)
    throw new CairnError('name_taken', `${path} is not empty: choose another folder for ${what}`, { details: { out: path } });
}

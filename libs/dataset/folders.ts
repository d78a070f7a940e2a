import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError, type ImageSplit, isDatasetUrl } from '@cairn/contract';
import type { FileGate } from './file-gate.ts';

export { type ImageSplit, imageIdPattern, imageSplits } from '@cairn/contract';

/** DuckDB reports the system's message without an error number, so the message must be parsed. */
const noSpaceText = /No space left on device|Disk quota exceeded|not enough disk space/i;

function isNoSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')) return true;
  return noSpaceText.test(error.message);
}

/**
 * Runs `work`, which writes under `folder`; a full disk becomes `storage_full` with the folder's name.
 *
 * @throws CairnError `storage_full`; the signal's reason once it has fired; any other error unchanged.
 */
export async function writingUnder<T>(folder: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await work();
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CairnError || !isNoSpace(error)) throw error;
    throw new CairnError('storage_full', `no space left in ${folder}: free some space, or choose another folder`, {
      details: { folder },
      cause: error,
    });
  }
}

/**
 * Lets `work` fill a new folder next to `out` and renames it to `out` when it is complete: a kill leaves nothing partial at `out`. The
 * temporary folder is removed. Throws as {@link writingUnder} does.
 */
export async function makingBeside<T>(out: string, work: (making: string) => Promise<T>, signal?: AbortSignal): Promise<T> {
  return writingUnder(
    out,
    async () => {
      const making = await makeBeside(out);
      try {
        return await work(making);
      } finally {
        await rm(making, { recursive: true, force: true });
      }
    },
    signal,
  );
}

async function makeBeside(out: string): Promise<string> {
  try {
    await mkdir(dirname(out), { recursive: true });
    return await mkdtemp(`${out}.making-`);
  } catch (error) {
    if (isNoSpace(error)) throw error;
    const said = error instanceof Error ? error.message : String(error);
    throw new CairnError('invalid_request', `${out} cannot be created: ${said}`, {
      details: { remedy: 'Choose a folder in which you may write.' },
      cause: error,
    });
  }
}

/** A path in a dataset's place: a folder, or an address. */
export function below(place: string, ...names: readonly string[]): string {
  return isDatasetUrl(place) ? [place.replace(/\/+$/, ''), ...names].join('/') : join(place, ...names);
}

/**
 * @param what the folder's name in the message, such as `The image folder`
 * @throws CairnError `missing_file` if it does not exist or is a file; `folder_not_allowed` if the gate does not allow it
 */
export async function requireFolder(what: string, path: string, gate?: FileGate): Promise<void> {
  const remote = await gate?.sourceOf(path);
  if (remote?.source.list) {
    for await (const { files, folders } of remote.source.list(remote.path)) if (files.length + folders.length > 0) return;
    throw new CairnError('missing_file', `${what} ${path} has no files: correct the address`, { details: { folder: path } });
  }
  // A web server cannot list.
  if (remote) return;
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

/** `a/b/c/abc....jpg`: the path of an image in its split, both in folders and in tars. */
export function memberPath(imageId: string): string {
  return `${imageId[0] ?? ''}/${imageId[1] ?? ''}/${imageId[2] ?? ''}/${imageId}.jpg`;
}

/** {@link memberPath} as SQL. */
export function memberPathSql(imageId: string): string {
  return `concat(${imageId}[1], '/', ${imageId}[2], '/', ${imageId}[3], '/', ${imageId}, '.jpg')`;
}

/** The path of an image relative to the image root: `train/a/b/c/abc....jpg`. */
export function imagePath(split: ImageSplit, imageId: string): string {
  return `${split}/${memberPath(imageId)}`;
}

/** A file of a listing: its path relative to the folder, bytes, modification time in whole milliseconds, and the ETag of object storage. */
export type ListedFile = { path: string; bytes: number; changedMs: number; etag?: string };

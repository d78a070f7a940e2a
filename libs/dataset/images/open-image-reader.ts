import { type FileHandle, readdir, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { CairnError, isCairnError } from '@cairn/contract';
import { changedMsOf } from '../digests.ts';
import { createFileGate } from '../file-gate.ts';

/**
 * Where an image lies: a file, or a piece of a tar. Paths are relative to the root, as lists have them. `fileBytes` and `fileChangedMs` are
 * what `prepare` saw of the file or tar: null where there was none, absent where the list does not say.
 */
export type ImageLocation = {
  path: string;
  tar?: string | null;
  offset?: number | null;
  size?: number | null;
  fileBytes?: number | null | undefined;
  fileChangedMs?: number | null | undefined;
};

/** Why an image cannot be had, when the fault is the image's own and not the machine's. */
export type ImageRejection = 'missing' | 'empty' | 'truncated' | 'not_a_file' | 'no_permission' | 'too_large';

export type ImageReader = {
  /**
   * The bytes of an image file, undecoded.
   *
   * @throws ImageUnavailable when this image cannot be had; CairnError `invalid_path` when its path would leave the root,
   *   `folder_not_allowed` when a link leads elsewhere, `dataset_changed` when the file is not the one that `prepare` saw, `storage_failed`
   *   when the machine is at fault, such as a root that is gone (a retry may help); the signal's reason.
   */
  read(image: ImageLocation, signal?: AbortSignal): Promise<Buffer>;
  close(): Promise<void>;
};

/** One image cannot be had; the others can. The extraction records the reason and goes on. */
export class ImageUnavailable extends CairnError {
  readonly reason: ImageRejection;

  constructor(reason: ImageRejection, message: string, path: string, cause?: unknown) {
    super('missing_file', message, { details: { path, reason }, cause });
    this.name = 'ImageUnavailable';
    this.reason = reason;
  }
}

/** Tars stay open between reads: a shard reads thousands of pieces of one file. */
const openTars = 4;
/** No photograph is larger; a list with a wrong size must not take all memory. */
const largestImageBytes = 256 * 1024 * 1024;

/**
 * Reads images below `root`.
 *
 * @param roots the folders that datasets may lie in, to which links of the tree may lead; null for any
 * @throws CairnError `storage_failed` where the root is not there, or empty: a file system that is not mounted
 */
export async function openImageReader(root: string, roots: readonly string[] | null): Promise<ImageReader> {
  const gate = await createFileGate(roots);
  const live = await identityOf(root);
  if (live === null) throw rootLost(root);
  const tars = new Map<string, Promise<FileHandle>>();
  let closed = false;

  /** What an error of the file system means, once it is known that the root, and the split's folder in it, are still there. */
  const faultOf = async (error: unknown, image: string, path: string): Promise<unknown> => {
    if (error instanceof CairnError && error.code !== 'missing_file') return error;
    const reason = isCairnError(error, 'missing_file') ? 'not_a_file' : faultOfImage(error);
    if (reason === null) return machineFault(error, path);
    // The folder of a split may be a mount of its own; an image that lies in the root itself has none.
    const [split = '', ...below] = image.split('/');
    if ((await identityOf(root)) !== live || (below.length > 0 && (await identityOf(join(root, split))) === null))
      return rootLost(root, error);
    return new ImageUnavailable(reason, `${path} ${reasonWords[reason]}`, image, error);
  };

  const tarHandle = (path: string): Promise<FileHandle> => {
    const kept = tars.get(path);
    // Deleting and setting again keeps the map in order of use.
    tars.delete(path);
    const handle = kept ?? gate.open(path);
    tars.set(path, handle);
    return handle;
  };
  /** Closes the tars used longest ago, once nothing reads from them. */
  const readers = new Map<string, number>();
  const trim = async (keep: number): Promise<void> => {
    for (const [path, handle] of [...tars]) {
      if (tars.size <= keep) return;
      if ((readers.get(path) ?? 0) > 0) continue;
      tars.delete(path);
      await handle.then((file) => file.close()).catch(() => undefined);
    }
  };

  const readTar = async (image: ImageLocation, tar: string, signal?: AbortSignal): Promise<Buffer> => {
    const { offset, size } = image;
    if (offset === null || offset === undefined || size === null || size === undefined) {
      throw new ImageUnavailable('missing', `${image.path} is in no tar`, image.path);
    }
    const path = inside(root, tar);
    readers.set(path, (readers.get(path) ?? 0) + 1);
    try {
      const handle = await tarHandle(path).catch(async (error: unknown) => {
        tars.delete(path);
        const fault = await faultOf(error, tar, path);
        throw fault instanceof ImageUnavailable ? tarGone(path, error) : fault;
      });
      return await unchanged(handle, image, path, () => readPiece(handle, image.path, offset, size, signal));
    } finally {
      const left = (readers.get(path) ?? 1) - 1;
      if (left === 0) readers.delete(path);
      else readers.set(path, left);
      await trim(openTars);
    }
  };

  const readFile = async (image: ImageLocation, signal?: AbortSignal): Promise<Buffer> => {
    const path = inside(root, image.path);
    const handle = await gate.open(path).catch(async (error: unknown) => {
      throw await faultOf(error, image.path, path);
    });
    try {
      return await unchanged(handle, image, path, (bytes) => readPiece(handle, image.path, 0, bytes, signal));
    } finally {
      await handle.close();
    }
  };

  return {
    async read(image, signal) {
      signal?.throwIfAborted();
      if (closed) throw new Error('the image reader is closed');
      return image.tar ? readTar(image, image.tar, signal) : readFile(image, signal);
    },
    async close() {
      closed = true;
      await trim(0);
    },
  };
}

async function readPiece(handle: FileHandle, path: string, offset: number, size: number, signal?: AbortSignal): Promise<Buffer> {
  if (size === 0) throw new ImageUnavailable('empty', `${path} has no bytes`, path);
  if (size > largestImageBytes)
    throw new ImageUnavailable('too_large', `${path} has ${size} bytes; at most ${largestImageBytes} are read`, path);
  const bytes = Buffer.allocUnsafe(size);
  let done = 0;
  while (done < size) {
    signal?.throwIfAborted();
    const { bytesRead } = await handle.read(bytes, done, size - done, offset + done);
    if (bytesRead === 0) throw new ImageUnavailable('truncated', `${path} ends after ${done} of ${size} bytes`, path);
    done += bytesRead;
  }
  return bytes;
}

/** The absolute path of a relative one, which must not leave the root by its wording. */
function inside(root: string, path: string): string {
  const parts = path.split('/');
  const leaves =
    isAbsolute(path) || path === '' || /[\\\0]/.test(path) || parts.some((part) => part === '..' || part === '.' || part === '');
  if (leaves)
    throw new CairnError('invalid_path', `the path ${JSON.stringify(path)} would leave the image root ${root}`, {
      details: { path, root },
    });
  return join(root, path);
}

/**
 * Reads a file that has to be, before and after, the one that `prepare` saw.
 *
 * @param read is given the file's bytes
 */
async function unchanged<T>(handle: FileHandle, image: ImageLocation, path: string, read: (bytes: number) => Promise<T>): Promise<T> {
  const { fileBytes, fileChangedMs } = image;
  const requireSame = async (): Promise<number> => {
    const found = await handle.stat();
    if (fileBytes === undefined || fileChangedMs === undefined) return found.size;
    if (fileBytes === found.size && fileChangedMs === changedMsOf(found)) return found.size;
    const then = fileBytes === null ? 'it was not there' : `it had ${fileBytes} bytes, changed at ${timeOf(fileChangedMs)}`;
    const message = `${path} has ${found.size} bytes, changed at ${timeOf(changedMsOf(found))}; when the lists were made ${then}`;
    throw new CairnError('dataset_changed', message, { details: { file: path } });
  };
  try {
    const result = await read(await requireSame());
    await requireSame();
    return result;
  } catch (error) {
    throw error instanceof CairnError || !(error instanceof Error && 'code' in error) ? error : machineFault(error, path);
  }
}

function timeOf(ms: number | null): string {
  return new Date(ms ?? 0).toISOString();
}

/** Which folder this is, while something lies in it: another file system at its place has another identity. Null where it cannot be read. */
async function identityOf(folder: string): Promise<string | null> {
  try {
    const { dev, ino } = await stat(folder);
    return (await readdir(folder)).length === 0 ? null : `${dev}:${ino}`;
  } catch {
    return null;
  }
}

const reasonWords = { missing: 'is not there', not_a_file: 'is not a file', no_permission: 'may not be read by this process' } as const;

function rootLost(root: string, cause?: unknown): CairnError {
  return new CairnError('storage_failed', `The image folder ${root} is gone, empty or not readable: mount it again`, {
    details: { root },
    cause,
  });
}

function machineFault(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  return new CairnError('storage_failed', `${path} cannot be read: ${error.message}`, {
    details: { path, errno: error.code },
    cause: error,
  });
}

function tarGone(path: string, cause: unknown): CairnError {
  return new CairnError('storage_failed', `the tar ${path} is not there or cannot be read: put it back`, { details: { path }, cause });
}

/**
 * Whose fault it is that an image cannot be read: its own, so that it is recorded, left out and counted; or the machine's, so that the
 * attempt ends and is tried again. docs/architecture.md ("Bad images") has the table for the trainer too.
 */
const ownFaults: Readonly<Record<string, 'missing' | 'not_a_file' | 'no_permission'>> = {
  ENOENT: 'missing',
  ENOTDIR: 'missing',
  EISDIR: 'not_a_file',
  ELOOP: 'not_a_file',
  ENAMETOOLONG: 'not_a_file',
  ENXIO: 'not_a_file',
  // Of one file; that of the root, or of a split's folder, is the machine's (see `openImageReader`).
  EACCES: 'no_permission',
  EPERM: 'no_permission',
};

/** Why an image cannot be had, when the fault is the image's own; null for a fault of the machine: EIO, ESTALE, ENOTCONN, EMFILE, ENOMEM and all others. */
export function faultOfImage(error: unknown): (typeof ownFaults)[string] | null {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  return ownFaults[code] ?? null;
}

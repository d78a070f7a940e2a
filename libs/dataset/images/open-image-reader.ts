import { type FileHandle, readdir, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { CairnError, isCairnError } from '@cairn/contract';
import type { SourceLimits } from '@cairn/storage';
import { changedMsOf } from '../digests.ts';
import { createFileGate } from '../file-gate.ts';
import { type ImageLocation, type ImageReader, ImageUnavailable, largestImageBytes } from './image-reader.ts';
import { openSourceReader } from './open-source-reader.ts';

/** Tars stay open between reads: a shard reads thousands of parts of one file. */
const openTars = 4;

/**
 * Reads images in `root`, a folder or an address.
 *
 * @param roots the allowed dataset folders and addresses, to which links in the tree may lead; null for any
 * @param mostSourceBytes of an image at an address: a larger one is unavailable
 * @throws CairnError `storage_failed` if the root does not exist, or is empty: a file system that is not mounted
 */
export async function openImageReader(
  root: string,
  roots: readonly string[] | null,
  limits: Partial<SourceLimits> = {},
  mostSourceBytes = largestImageBytes,
): Promise<ImageReader> {
  const gate = await createFileGate(roots, limits);
  const remote = await gate.sourceOf(root);
  if (remote !== null) return openSourceReader(remote, mostSourceBytes);
  const live = await identityOf(root);
  if (live === null) throw rootLost(root);
  const tars = new Map<string, Promise<FileHandle>>();
  let closed = false;

  /** The meaning of a file system error, after checking that the root and the split's folder still exist. */
  const faultOf = async (error: unknown, image: string, path: string): Promise<unknown> => {
    if (error instanceof CairnError && error.code !== 'missing_file') return error;
    const reason = isCairnError(error, 'missing_file') ? 'not_a_file' : faultOfImage(error);
    if (reason === null) return machineFault(error, path);
    // The folder of a split may be a separate mount; an image in the root itself has none.
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
  /** Closes the least recently used tars that nothing reads from. */
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
      throw new ImageUnavailable('missing', `${image.path} is not in a tar`, image.path);
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
    plan: () => undefined,
    ranges: () => [],
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
    throw new ImageUnavailable('too_large', `${path} has ${size} bytes; the maximum is ${largestImageBytes}`, path);
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

/** The absolute path of a relative one, which must not lead out of the root. */
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
 * Reads a file and checks before and after that it has not changed since `prepare`.
 *
 * @param read receives the open file
 */
async function unchanged<T>(handle: FileHandle, image: ImageLocation, path: string, read: (bytes: number) => Promise<T>): Promise<T> {
  const { fileBytes, fileChangedMs } = image;
  const requireSame = async (): Promise<number> => {
    const found = await handle.stat();
    if (fileBytes === undefined || fileChangedMs === undefined) return found.size;
    if (fileBytes === found.size && fileChangedMs === changedMsOf(found)) return found.size;
    const then = fileBytes === null ? 'it did not exist' : `it had ${fileBytes} bytes, changed at ${timeOf(fileChangedMs)}`;
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

/** Identifies a non-empty folder: another file system in its place has another identity. Null if it cannot be read. */
async function identityOf(folder: string): Promise<string | null> {
  try {
    const { dev, ino } = await stat(folder);
    return (await readdir(folder)).length === 0 ? null : `${dev}:${ino}`;
  } catch {
    return null;
  }
}

const reasonWords = { missing: 'does not exist', not_a_file: 'is not a file', no_permission: 'is not readable by this process' } as const;

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
  return new CairnError('storage_failed', `the tar ${path} does not exist or cannot be read: restore it`, { details: { path }, cause });
}

/**
 * Whether an unreadable image is the image's fault, which is recorded, skipped and counted, or the machine's, which fails the attempt and
 * lets the step be retried. The table in docs/architecture.md ("Bad images") also applies to the trainer.
 */
const ownFaults: Readonly<Record<string, 'missing' | 'not_a_file' | 'no_permission'>> = {
  ENOENT: 'missing',
  ENOTDIR: 'missing',
  EISDIR: 'not_a_file',
  ELOOP: 'not_a_file',
  ENAMETOOLONG: 'not_a_file',
  ENXIO: 'not_a_file',
  // For a single file; for the root or the folder of a split it is a machine fault (see `openImageReader`).
  EACCES: 'no_permission',
  EPERM: 'no_permission',
};

/** Why an image is unavailable if it is the image's fault; null for a machine fault: EIO, ESTALE, ENOTCONN, EMFILE, ENOMEM and all others. */
export function faultOfImage(error: unknown): (typeof ownFaults)[string] | null {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  return ownFaults[code] ?? null;
}

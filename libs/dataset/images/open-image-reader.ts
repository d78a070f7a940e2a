import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { CairnError } from '@cairn/contract';

/** Where an image lies: a file, or a piece of a tar. Paths are relative to the root, as lists have them. */
export type ImageLocation = { path: string; tar?: string | null; offset?: number | null; size?: number | null };

/** Why an image cannot be had, when the fault is the image's own and not the machine's. */
export type ImageRejection = 'missing' | 'empty' | 'truncated' | 'not_a_file' | 'too_large';

export type ImageReader = {
  /**
   * The bytes of an image file, undecoded.
   *
   * @throws ImageUnavailable when this image cannot be had; CairnError `invalid_path` when its path would leave the root,
   *   `missing_file` when a whole tar is gone; the system's error when the storage fails (a retry may help); the signal's reason.
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

/** Reads images below `root`. Links inside the tree are followed: they are its owner's. */
export function openImageReader(root: string): ImageReader {
  const tars = new Map<string, Promise<FileHandle>>();
  let closed = false;

  const tarHandle = (path: string): Promise<FileHandle> => {
    const kept = tars.get(path);
    // Deleting and setting again keeps the map in order of use.
    tars.delete(path);
    const handle = kept ?? open(path, 'r');
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
      const handle = await tarHandle(path).catch((error: unknown) => {
        tars.delete(path);
        throw isAbsent(error)
          ? new CairnError('missing_file', `the tar ${path} is not there: put it back`, { details: { path }, cause: error })
          : error;
      });
      return await readPiece(handle, image.path, offset, size, signal);
    } finally {
      const left = (readers.get(path) ?? 1) - 1;
      if (left === 0) readers.delete(path);
      else readers.set(path, left);
      await trim(openTars);
    }
  };

  const readFile = async (image: ImageLocation, signal?: AbortSignal): Promise<Buffer> => {
    const path = inside(root, image.path);
    const handle = await open(path, 'r').catch((error: unknown) => {
      throw rejected(error, image.path, path);
    });
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw new ImageUnavailable('not_a_file', `${path} is not a file`, image.path);
      return await readPiece(handle, image.path, 0, stats.size, signal);
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

/** An absent file is the image's fault; anything else (no permission, too many open files, a dead disk) is the machine's. */
function rejected(error: unknown, image: string, path: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (isAbsent(error)) return new ImageUnavailable('missing', `${path} is not there`, image, error);
  if (code === 'ENAMETOOLONG' || code === 'ELOOP') return new ImageUnavailable('not_a_file', `${path} is not a file`, image, error);
  return error;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

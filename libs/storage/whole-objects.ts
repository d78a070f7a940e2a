import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { addAbortSignal, Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import { readSize } from '@cairn/runtime';
import type { ObjectSource, ObjectStore } from './object-store.ts';

/** A name for a file or folder that is not yet, or no longer, an object. */
export function temporaryPath(folder: string): string {
  return join(folder, `.${randomUUID()}`);
}

/** The content of `source` as a stream, which the signal ends. */
export async function openSource(source: ObjectSource, key: string, signal: AbortSignal | undefined): Promise<Readable> {
  if (typeof source === 'string' || source instanceof Uint8Array) return Readable.from([Buffer.from(source)]);
  const stream = source instanceof Readable ? source : await readLocal(source.file, key);
  return signal === undefined ? stream : endedBy(signal, stream);
}

/** The stream, which the signal destroys with its error, even before anything reads it: the reader then gets the error. */
export function endedBy(signal: AbortSignal, stream: Readable): Readable {
  // Without a listener, the error of a stream that nothing reads yet would end the process.
  return addAbortSignal(
    signal,
    stream.on('error', () => undefined),
  );
}

async function readLocal(file: string, key: string): Promise<Readable> {
  try {
    const handle = await open(file);
    return handle.createReadStream({ highWaterMark: readSize((await handle.stat()).size) });
  } catch (cause) {
    throw new CairnError('not_found', `The file ${file}, to be stored as ${key}, cannot be read.`, { cause, details: { file, key } });
  }
}

/**
 * Writes the stream to a new file at `path` and syncs it if requested. Errors of the stream are passed on unchanged,
 * those of the file become {@link storageError}s; either way no file is left behind.
 */
export async function writeWhole(
  path: string,
  source: Readable,
  act: StorageAct,
  sync: boolean,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const guard = <T>(work: Promise<T>) =>
    work.catch(async (error: unknown) => {
      throw await storageError(error, { ...act, bytes });
    });
  let handle: FileHandle | undefined;
  try {
    handle = await guard(open(path, 'wx'));
    for await (const chunk of source) {
      act.signal?.throwIfAborted();
      const part = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      if (!(part instanceof Uint8Array)) throw new TypeError(`the stream to store as ${act.key} does not consist of bytes`);
      hash.update(part);
      await guard(handle.writeFile(part));
      bytes += part.length;
    }
    act.signal?.throwIfAborted();
    if (sync) await guard(handle.sync());
    await guard(handle.close());
    return { bytes, sha256: hash.digest('hex') };
  } catch (error) {
    source.destroy();
    await handle?.close().catch(() => undefined);
    await rm(path, { force: true });
    throw act.signal?.aborted ? act.signal.reason : error;
  }
}

/**
 * Creates the folder and its parents, each synced into the one above. Not by `recursive`, which never ends in a file system that does not
 * let anyone create folders and says that they do not exist, such as /proc.
 */
export async function makeFolder(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let path = folder; !(await makeOne(path)); path = dirname(path)) missing.push(path);
  for (const path of missing.reverse())
    if (!(await makeOne(path))) {
      const message = `ENOENT: no such file or directory, mkdir '${path}'`;
      throw Object.assign(new Error(message), { code: 'ENOENT', syscall: 'mkdir', path });
    }
}

/** True when the folder is there; false when the one above is not. */
async function makeOne(path: string): Promise<boolean> {
  try {
    await mkdir(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && dirname(path) !== path) return false;
    if (codeOf(error) === 'EEXIST' && (await stat(path)).isDirectory()) return true;
    throw error;
  }
  await syncFolder(dirname(path));
  return true;
}

/** Moves a whole file into place, over an existing one. The folder may have been removed in the meantime: creates it again. */
export async function moveInto(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    await makeFolder(dirname(path));
    await rename(temporary, path);
  }
  await syncFolder(dirname(path));
}

/** A rename is durable once its folder is synced. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

type Reads = {
  get: ObjectStore['get'];
  guarded: <T>(act: Omit<StorageAct, 'path'>, work: () => Promise<T>) => Promise<T>;
  /** The store, for messages. */
  place: string;
};

/** How a store reads whole objects, from its streams. */
export function wholeReads({ get, guarded, place }: Reads): Pick<ObjectStore, 'getBytes' | 'download'> {
  return {
    async getBytes(key, options = {}) {
      const stream = await get(key, options);
      return guarded({ act: 'Reading', key, signal: options.signal }, async () => {
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk);
        return Buffer.concat(chunks);
      });
    },
    async download(key, file, { sha256, signal } = {}) {
      const stream = await get(key, signal === undefined ? {} : { signal });
      return downloadWhole(stream, { key, place, file, sha256, signal });
    },
  };
}

type Download = {
  key: string;
  /** The store, for messages. */
  place: string;
  file: string;
  sha256?: string | undefined;
  signal?: AbortSignal | undefined;
};

/**
 * Writes an object's stream to a local file, which appears complete or not at all.
 * @throws CairnError `corrupt_artifact` when it does not have the expected digest.
 */
async function downloadWhole(stream: Readable, download: Download): Promise<{ bytes: number; sha256: string }> {
  const { key, place, file, signal } = download;
  const act = { act: 'Writing' as const, key, path: dirname(file), signal };
  const guarded = <T>(work: Promise<T>) =>
    work.catch(async (error: unknown) => {
      throw await storageError(error, act);
    });
  try {
    await guarded(makeFolder(dirname(file)));
    const temporary = temporaryPath(dirname(file));
    // Not synced: a local copy that a power failure damages fails its digest and is downloaded again.
    const result = await writeWhole(temporary, stream, act, false);
    if (download.sha256 !== undefined && result.sha256 !== download.sha256) {
      await rm(temporary, { force: true });
      throw new CairnError(
        'corrupt_artifact',
        `The object ${key} in ${place} has the sha256 ${result.sha256}, expected ${download.sha256}.`,
        {
          details: { key, path: place, expected: download.sha256, found: result.sha256 },
        },
      );
    }
    await guarded(rename(temporary, file));
    return result;
  } finally {
    stream.destroy();
  }
}

/** What the program was doing when the file system failed. */
export type StorageAct = {
  act: 'Reading' | 'Writing' | 'Removing' | 'Listing' | 'Sweeping';
  key: string;
  /** The folder of the store, or the local file. */
  path: string;
  /** Bytes written so far. */
  bytes?: number;
  signal?: AbortSignal | undefined;
};

const fullCodes = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** The error to throw for a failure of the file system: a CairnError, or the reason of an abort. */
export async function storageError(error: unknown, { act, key, path, bytes = 0, signal }: StorageAct): Promise<unknown> {
  if (signal?.aborted) return signal.reason;
  if (error instanceof CairnError) return error;
  const code = codeOf(error);
  const details = { key, path, bytes, code };
  if (act === 'Reading' && (code === 'ENOENT' || code === 'EISDIR' || code === 'ENOTDIR')) {
    return new CairnError('not_found', `There is no object ${key} in ${path}.`, { cause: error, details });
  }
  if (code === 'ELOOP') {
    return new CairnError('invalid_path', `The object ${key} in ${path} is a symbolic link, which is not followed.`, {
      cause: error,
      details,
    });
  }
  if (code !== undefined && fullCodes.has(code)) {
    const message = `No space is left in ${path} for ${key}: ${bytes} bytes were written${await freeBytes(path)}.`;
    return new CairnError('storage_full', message, { cause: error, details });
  }
  const why = error instanceof Error ? error.message : String(error);
  return new CairnError('storage_failed', `${act} ${key} in ${path} failed: ${why}.`, { cause: error, details });
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

async function freeBytes(path: string): Promise<string> {
  const volume = await statfs(path).catch(() => undefined);
  return volume === undefined ? '' : `, ${volume.bavail * volume.bsize} bytes are free`;
}

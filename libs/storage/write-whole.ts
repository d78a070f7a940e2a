import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { addAbortSignal, Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import type { ObjectSource } from './object-store.ts';
import { codeOf, type StorageAct, storageError } from './storage-error.ts';

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
    return handle.createReadStream({ highWaterMark: 1 << 20 });
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

/** Creates the folder and its parents, each synced into the one above. */
export async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
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
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

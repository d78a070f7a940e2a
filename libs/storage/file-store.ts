import { constants } from 'node:fs';
import { copyFile, link, lstat, open, opendir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { CairnError } from '@cairn/contract';
import { inParallel, readSize } from '@cairn/runtime';
import { type GetOptions, type ListedObject, type ObjectStore, objectKey, objectPrefix } from './object-store.ts';
import {
  codeOf,
  endedBy,
  makeFolder,
  moveInto,
  openSource,
  type StorageAct,
  storageError,
  temporaryPath,
  wholeReads,
  writeWhole,
} from './whole-objects.ts';

const parallelRemovals = 16;

/**
 * Objects as files under the folder `root`. Unfinished ones are in `.unfinished`, on the same volume: a folder
 * of objects never holds a partial file, whatever was killed.
 */
export function openFileStore(root: string): ObjectStore {
  const unfinished = join(root, '.unfinished');
  const pathOf = (key: string) => join(root, objectKey(key));

  /** Runs `work`; reports failures of the file system as a failure of `act`. */
  async function guarded<T>(act: Omit<StorageAct, 'path'>, work: () => Promise<T>): Promise<T> {
    try {
      act.signal?.throwIfAborted();
      return await work();
    } catch (error) {
      throw await storageError(error, { path: root, ...act });
    }
  }

  async function get(key: string, { range, signal }: GetOptions = {}): Promise<Readable> {
    const path = pathOf(key);
    return guarded({ act: 'Reading', key, signal }, async () => {
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      const stats = await handle.stat();
      const isFile = stats.isFile();
      const isEmpty = range?.end !== undefined && range.end <= range.start;
      if (!isFile || isEmpty) await handle.close();
      if (!isFile) throw new CairnError('not_found', `There is no object ${key} in ${root}.`, { details: { key, path: root } });
      if (isEmpty) return Readable.from([]);
      const end = range?.end === undefined ? {} : { end: range.end - 1 };
      const stream = handle.createReadStream({ start: range?.start ?? 0, ...end, highWaterMark: readSize(stats.size) });
      return signal === undefined ? stream : endedBy(signal, stream);
    });
  }

  return {
    url: pathToFileURL(root).href,
    get,

    async put(key, source, { ifAbsent = false, signal } = {}) {
      const path = pathOf(key);
      const act = { act: 'Writing' as const, key, signal };
      await guarded(act, () => Promise.all([makeFolder(unfinished), makeFolder(dirname(path))]));
      const temporary = temporaryPath(unfinished);
      const stream = await openSource(source, key, signal);
      const result = await writeWhole(temporary, stream, { path: root, ...act }, true);
      return guarded({ ...act, bytes: result.bytes }, async () => {
        try {
          if (!ifAbsent) await moveInto(temporary, path);
          return { ...result, written: ifAbsent ? await linkIfAbsent(temporary, path) : true };
        } finally {
          await rm(temporary, { force: true });
        }
      });
    },

    ...wholeReads({ get, guarded, place: root }),

    async head(key, signal) {
      const path = pathOf(key);
      return guarded({ act: 'Reading', key, signal }, async () => {
        const info = await lstat(path).catch((error: unknown) => {
          if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
          throw error;
        });
        return info?.isFile() ? { bytes: info.size, modifiedAt: info.mtime } : null;
      });
    },

    async *list(prefix, signal) {
      const start = objectPrefix(prefix);
      try {
        yield* listFolder(join(root, start), start === '' ? '' : `${start}/`, signal);
      } catch (error) {
        throw await storageError(error, { act: 'Listing', key: prefix || '(all)', path: root, signal });
      }
    },

    async copy(from, to, signal) {
      const [source, target] = [pathOf(from), pathOf(to)];
      return guarded({ act: 'Reading', key: from, signal }, async () => {
        const info = await lstat(source);
        if (!info.isFile())
          throw new CairnError('not_found', `There is no object ${from} in ${root}.`, { details: { key: from, path: root } });
        const bytes = info.size;
        await guarded({ act: 'Writing', key: to, bytes, signal }, () => copyWhole(source, target, unfinished, signal));
      });
    },

    async remove(key, signal) {
      const path = pathOf(key);
      return guarded({ act: 'Removing', key, signal }, async () => {
        const info = await lstat(path).catch(() => undefined);
        if (info && !info.isDirectory()) await rm(path, { force: true });
      });
    },

    async removePrefix(prefix, signal) {
      const path = pathOf(prefix);
      return guarded({ act: 'Removing', key: prefix, signal }, async () => {
        await makeFolder(unfinished);
        // Moved out of sight in one step: no reader sees half of an artifact, and a kill leaves the rest to the sweep.
        const removed = temporaryPath(unfinished);
        const isThere = await rename(path, removed).then(
          () => true,
          (error: unknown) => {
            if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false;
            throw error;
          },
        );
        if (isThere) await removeTree(removed, signal);
      });
    },

    async sweepTemporary(olderThanMs, signal) {
      return guarded({ act: 'Sweeping', key: '.unfinished', signal }, () => sweep(unfinished, Date.now() - olderThanMs));
    },
  };
}

/** A link appears with all its bytes and fails on an existing name; then both names are one file, of which one is removed. */
async function linkIfAbsent(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
  await rm(temporary);
  return true;
}

/** A separate file (a reflink where the file system supports it): a writer that still has the source open cannot change it. */
async function copyWhole(source: string, target: string, unfinished: string, signal: AbortSignal | undefined): Promise<void> {
  await Promise.all([makeFolder(unfinished), makeFolder(dirname(target))]);
  const temporary = temporaryPath(unfinished);
  try {
    await copyFile(source, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    const handle = await open(temporary, 'r+');
    await handle.sync().finally(() => handle.close());
    signal?.throwIfAborted();
    await moveInto(temporary, target);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Removes a folder entry by entry: `rm` requests all of them at once, which for ten thousand blocks the event loop. */
async function removeTree(folder: string, signal: AbortSignal | undefined): Promise<void> {
  const folders: string[] = [];
  await inParallel((await opendir(folder))[Symbol.asyncIterator](), parallelRemovals, async (entry) => {
    signal?.throwIfAborted();
    const path = join(folder, entry.name);
    if (entry.isDirectory()) folders.push(path);
    else await rm(path, { force: true });
  });
  for (const path of folders) await removeTree(path, signal);
  // Entries that were skipped because the folder shrank while it was being read.
  await rm(folder, { recursive: true, force: true });
}

async function sweep(folder: string, before: number): Promise<number> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  });
  let swept = 0;
  for (const name of names) {
    const path = join(folder, name);
    const info = await lstat(path).catch(() => undefined);
    if (info === undefined || info.mtimeMs > before) continue;
    await rm(path, { recursive: true, force: true });
    swept += 1;
  }
  return swept;
}

/**
 * The files under `folder`, each with `prefix` before its path, in the byte order of their keys, as S3 lists them.
 * Without dot files and symbolic links. Files that vanish in the meantime are left out.
 */
async function* listFolder(folder: string, prefix: string, signal: AbortSignal | undefined): AsyncGenerator<ListedObject> {
  signal?.throwIfAborted();
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return [];
    throw error;
  });
  const visible = entries
    .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || entry.isFile()))
    // The keys of a folder continue with a slash, which sorts after "a-b" and "a.b" and before "a0".
    .map((entry) => ({ entry, order: Buffer.from(entry.isDirectory() ? `${entry.name}/` : entry.name) }))
    .sort((a, b) => Buffer.compare(a.order, b.order));
  for (const { entry } of visible) {
    signal?.throwIfAborted();
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      yield* listFolder(path, `${prefix}${entry.name}/`, signal);
      continue;
    }
    const info = await lstat(path).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (info) yield { key: `${prefix}${entry.name}`, bytes: info.size, modifiedAt: info.mtime };
  }
}

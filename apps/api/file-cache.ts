import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type FileCache = {
  /** Of all files and folders together, except those in use. */
  readonly maxBytes: number;
  /**
   * Calls `use` with the file of this key, or the folder, which `make` writes where it is not there yet. Concurrent callers share one
   * `make`; the file stays as long as somebody uses it.
   */
  using<T>(key: string, make: (path: string) => Promise<void>, use: (path: string) => Promise<T>): Promise<T>;
  /** Removes the files. */
  close(): Promise<void>;
};

const folderName = (pid: number): string => `cairn-cache-${pid}-`;

/**
 * Files that can be made again, of at most `maxBytes` in all and those in use: the least recently used are removed first. In a folder of
 * this process; that of one that was killed is removed at the start.
 *
 * @param base the folder for temporary files; in a container it may be that of an earlier process with the same pid
 */
export async function openFileCache({ maxBytes, base = tmpdir() }: { maxBytes: number; base?: string }): Promise<FileCache> {
  await removeAbandoned(base);
  const folder = await mkdtemp(join(base, folderName(process.pid)));
  /** In the order of their use. */
  const files = new Map<string, { path: string; bytes: number; users: number; made: Promise<void> }>();
  let made = 0;

  /** Never that of an earlier file of the same key, which may just be being removed. */
  const newPath = (key: string): string => join(folder, `${createHash('sha256').update(key).digest('hex')}-${made++}`);

  async function make(path: string, write: (path: string) => Promise<void>): Promise<number> {
    const unfinished = `${path}.unfinished`;
    try {
      // The folder may have been removed by what cleans up temporary files.
      await mkdir(folder, { recursive: true });
      await write(unfinished);
      const bytes = await bytesOf(unfinished);
      await rename(unfinished, path);
      return bytes;
    } finally {
      await rm(unfinished, { recursive: true, force: true });
    }
  }

  async function trim(): Promise<void> {
    let sum = [...files.values()].reduce((bytes, file) => bytes + file.bytes, 0);
    for (const [key, file] of files) {
      if (sum <= maxBytes) return;
      if (file.users > 0) continue;
      files.delete(key);
      sum -= file.bytes;
      await rm(file.path, { recursive: true, force: true });
    }
  }

  return {
    maxBytes,
    async using(key, write, use) {
      const known = files.get(key);
      const file = known ?? { path: newPath(key), bytes: 0, users: 0, made: Promise.resolve() };
      if (known === undefined) {
        file.made = make(file.path, write).then((bytes) => {
          file.bytes = bytes;
        });
      }
      files.delete(key);
      files.set(key, file);
      file.users += 1;
      try {
        await file.made;
        return await use(file.path);
      } catch (error) {
        // What failed to be made, or was removed by others, is made again.
        const isThere = await stat(file.path).then(
          () => true,
          () => false,
        );
        if (!isThere && files.get(key) === file) files.delete(key);
        throw error;
      } finally {
        file.users -= 1;
        await trim();
      }
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

async function bytesOf(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const sizes = await Promise.all((await readdir(path)).map((name) => bytesOf(join(path, name))));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

async function removeAbandoned(base: string): Promise<void> {
  for (const name of await readdir(base)) {
    const pid = Number(/^cairn-cache-(\d+)-/.exec(name)?.[1] ?? Number.NaN);
    if (!Number.isNaN(pid) && (pid === process.pid || !isAlive(pid))) await rm(join(base, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

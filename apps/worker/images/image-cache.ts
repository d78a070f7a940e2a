import { createHash, randomUUID } from 'node:crypto';
import { glob, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export type ImageCache = {
  /** The image with this key, if it is kept with this size. */
  get(key: string, bytes: number): Promise<Buffer | null>;
  /** Whether {@link ImageCache.get} would find it, which is not counted. */
  has(key: string, bytes: number): Promise<boolean>;
  /** Counts an image that was read together with others, for which the cache was not asked. */
  missed(): void;
  /** Keeps an image; where there is no room, in place of those that were not used for longest. */
  keep(key: string, image: Buffer): Promise<void>;
  /** Images that were found and those that were not, bytes that are kept, and bytes that were removed for others. */
  readonly stats: Readonly<{ hits: number; misses: number; bytes: number; evictedBytes: number }>;
};

/** Images are in this many folders by the hash of their keys, so each folder is a random sample of all. */
const folders = 256;
/** A pass frees at least this share of a folder's part of the cache, so that a pass makes room for many images. */
const shareOfPass = 0.1;

/**
 * Images of sources on the disk of this node, which several attempts may share. A full cache gives up images that nothing has used since this
 * attempt began, those that were used longest ago first, of one folder after another: the least recently used of a sample, without a list of
 * millions of images. Images in use stay: a stage reads each once an epoch, in another order each time, so to replace one by another would
 * only cost a write. Failures of the disk never fail a read.
 */
export async function openImageCache(folder: string, mostBytes: number): Promise<ImageCache> {
  const openedAt = Date.now();
  await mkdir(folder, { recursive: true });
  const stats = { hits: 0, misses: 0, bytes: 0, evictedBytes: 0 };
  for await (const name of glob('??/*', { cwd: folder }))
    stats.bytes += await stat(join(folder, name)).then(
      ({ size }) => size,
      () => 0,
    );
  let isBroken = false;
  /** Folders in a row in which every image is in use: with all of them, the cache stays as it is. */
  let passesInVain = 0;
  let nextFolder = 0;
  let evicting: Promise<void> = Promise.resolve();

  const pathOf = (key: string): string => {
    const name = createHash('sha256').update(key).digest('hex');
    return join(folder, name.slice(0, 2), name);
  };

  /** Frees room in the next folder; counts what it could not find. */
  async function pass(needed: number): Promise<void> {
    const at = join(folder, nextFolder.toString(16).padStart(2, '0'));
    nextFolder = (nextFolder + 1) % folders;
    const found = await Promise.all(
      (await readdir(at).catch(() => [])).map(async (name) => {
        const path = join(at, name);
        const info = await stat(path).catch(() => null);
        return info === null || info.mtimeMs >= openedAt ? [] : [{ path, bytes: info.size, usedAt: info.mtimeMs }];
      }),
    );
    const unused = found.flat().sort((a, b) => a.usedAt - b.usedAt);
    const wanted = Math.max(needed, (mostBytes / folders) * shareOfPass);
    let freed = 0;
    for (const { path, bytes } of unused) {
      if (freed >= wanted) break;
      await rm(path, { force: true });
      freed += bytes;
    }
    passesInVain = freed > 0 ? 0 : passesInVain + 1;
    stats.bytes -= freed;
    stats.evictedBytes += freed;
  }

  const hasRoom = (bytes: number): boolean => stats.bytes + bytes <= mostBytes;

  async function makeRoom(bytes: number): Promise<boolean> {
    evicting = evicting.then(async () => {
      while (!hasRoom(bytes) && passesInVain < folders) await pass(stats.bytes + bytes - mostBytes);
    });
    await evicting;
    return hasRoom(bytes);
  }

  return {
    stats,
    async get(key, bytes) {
      const path = pathOf(key);
      const image = await readFile(path).catch(() => null);
      const isFound = image?.length === bytes;
      stats[isFound ? 'hits' : 'misses'] += 1;
      if (!isFound) return null;
      // Its time tells every attempt of the node that it is in use.
      const now = new Date();
      await utimes(path, now, now).catch(() => undefined);
      return image;
    },
    async has(key, bytes) {
      return stat(pathOf(key)).then(
        ({ size }) => size === bytes,
        () => false,
      );
    },
    missed() {
      stats.misses += 1;
    },
    async keep(key, image) {
      if (isBroken || image.length > mostBytes) return;
      const path = pathOf(key);
      const part = `${path}.${randomUUID()}`;
      try {
        if (!hasRoom(image.length) && !(await makeRoom(image.length))) return;
        stats.bytes += image.length;
        await mkdir(join(path, '..'), { recursive: true });
        await writeFile(part, image);
        await rename(part, path);
      } catch {
        // A full or broken disk: the images come from the source.
        isBroken = true;
        await rm(part, { force: true }).catch(() => undefined);
      }
    },
  };
}

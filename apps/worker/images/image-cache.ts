import { createHash, randomUUID } from 'node:crypto';
import { glob, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export type ImageCache = {
  /** The image with this key, if it is kept with this size. */
  get(key: string, bytes: number): Promise<Buffer | null>;
  /** Keeps an image while there is room. */
  keep(key: string, image: Buffer): Promise<void>;
};

/**
 * Images of sources on the disk of this node, which several attempts may share. What is full stays as it is: a stage reads every image once
 * an epoch, in another order each time, so to remove the oldest for a new one would only cost a write. Failures of the disk never fail a read.
 */
export async function openImageCache(folder: string, mostBytes: number): Promise<ImageCache> {
  await mkdir(folder, { recursive: true });
  let used = 0;
  for await (const name of glob('??/*', { cwd: folder }))
    used += await stat(join(folder, name)).then(
      ({ size }) => size,
      () => 0,
    );
  let isFull = false;

  const pathOf = (key: string): string => {
    const name = createHash('sha256').update(key).digest('hex');
    return join(folder, name.slice(0, 2), name);
  };

  return {
    async get(key, bytes) {
      const image = await readFile(pathOf(key)).catch(() => null);
      return image?.length === bytes ? image : null;
    },
    async keep(key, image) {
      if (isFull || used + image.length > mostBytes) return;
      used += image.length;
      const path = pathOf(key);
      const part = `${path}.${randomUUID()}`;
      try {
        await mkdir(join(path, '..'), { recursive: true });
        await writeFile(part, image);
        await rename(part, path);
      } catch {
        // A full or broken disk: the images come from the source.
        isFull = true;
        await rm(part, { force: true }).catch(() => undefined);
      }
    },
  };
}

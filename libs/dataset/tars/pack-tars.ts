import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { type ImageSplit, memberPath } from '../folders.ts';

/** All members have this time, so that tars of the same images have the same bytes. */
const memberTime = new Date('2020-01-01T00:00:00Z');

/** `images_007.tar`, as GLDv2 numbers them. */
function tarName(n: number): string {
  return `images_${String(n).padStart(3, '0')}.tar`;
}

/**
 * Packs the images of a split into `count` tars under `root`, with their md5 files, in GLDv2's layout (`train/images_000.tar`,
 * `md5sum/train/md5.images_000.txt`). Images are distributed round-robin, so the tar cannot be derived from an id. Returns the paths
 * written, relative to `root`.
 */
export async function packTars(
  root: string,
  split: ImageSplit,
  images: readonly { id: string; read: () => Promise<Buffer> }[],
  count: number,
  signal?: AbortSignal,
): Promise<string[]> {
  await mkdir(join(root, split), { recursive: true });
  await mkdir(join(root, 'md5sum', split), { recursive: true });
  const written: string[] = [];
  for (let n = 0; n < count; n++) {
    const name = tarName(n);
    const archive = pack();
    const md5 = createHash('md5');
    const tap = new PassThrough();
    tap.on('data', (chunk: Buffer) => md5.update(chunk));
    const stored = pipeline(archive, tap, createWriteStream(join(root, split, name)), { ...(signal ? { signal } : {}) });
    const filled = (async () => {
      for (let i = n; i < images.length; i += count) {
        const image = images[i];
        if (!image) break;
        const bytes = await image.read();
        await new Promise<void>((resolve, reject) => {
          archive.entry({ name: memberPath(image.id), size: bytes.length, mtime: memberTime, mode: 0o644 }, bytes, (error) =>
            error ? reject(error) : resolve(),
          );
        });
      }
      archive.finalize();
    })();
    await Promise.all([
      stored,
      filled.catch((error: unknown) => archive.destroy(error instanceof Error ? error : new Error(String(error)))),
    ]);
    const md5Path = `md5sum/${split}/md5.${name.replace('.tar', '.txt')}`;
    await writeFile(join(root, md5Path), `${md5.digest('hex')}  ${name}\n`);
    written.push(`${split}/${name}`, md5Path);
  }
  return written;
}

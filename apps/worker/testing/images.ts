import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { openParquet } from '@cairn/retrieval';

/** A square PNG of noise, the same for the same seed. */
export function pngOf(seed: number, side = 24): Buffer {
  const raw = Buffer.alloc(side * (1 + side * 3));
  let state = seed * 2654435761 + 1;
  for (let index = 0; index < raw.length; index += 1) {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    // Each row of pixels begins with its filter: none.
    raw[index] = index % (1 + side * 3) === 0 ? 0 : state >>> 24;
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(raw)), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

export type MadeImages = { root: string; ids: string[] };

/** A folder tree of `count` images in the split `index`; those of `broken` are not images. */
export function makeImages(root: string, count: number, broken: readonly number[] = []): MadeImages {
  const ids = Array.from({ length: count }, (_, index) => index.toString(16).padStart(16, 'a'));
  for (const [index, id] of ids.entries()) {
    const path = join(root, pathOf(id));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, broken.includes(index) ? 'no image' : pngOf(index));
  }
  return { root, ids };
}

/** Writes a list of the images, as the step `prepare` makes them; `path` gets the Parquet file. */
export async function writeList(path: string, ids: readonly string[]): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const parquet = await openParquet();
  try {
    await parquet.write({
      path,
      columns: { image_id: 'text', path: 'text', label: 'integer' },
      rows: ids.map((id, index) => [id, pathOf(id), index % 3]),
    });
  } finally {
    await parquet.close();
  }
}

function pathOf(id: string): string {
  return `index/${id[0]}/${id[1]}/${id[2]}/${id}.jpg`;
}

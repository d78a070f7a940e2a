import { readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openDatabase, pathLiteral } from '../duckdb.ts';
import { testFolder } from '../testing/hand-made-collection.ts';
import { packTars } from './pack-tars.ts';
import type { WriteTarIndexOptions, WrittenTarIndex } from './write-tar-index.ts';
import { writeTarIndex } from './write-tar-index.ts';

const images = Array.from({ length: 9 }, (_, i) => ({ id: `abc${i}`, bytes: Buffer.alloc(100 + i * 700, i) }));

async function pack(root: string, count = 3): Promise<void> {
  const readable = images.map(({ id, bytes }) => ({ id, read: async () => bytes }));
  await packTars(root, 'train', readable, count);
}

const index = (root: string, options: Partial<WriteTarIndexOptions> = {}): Promise<WrittenTarIndex> =>
  writeTarIndex({ root, splits: ['train'], out: join(root, 'index'), withMd5: true, ...options });

async function rowsOf(root: string): Promise<unknown[][]> {
  const database = await openDatabase();
  const rows = await database.rows(`select * from read_parquet(${pathLiteral(join(root, 'index/train.parquet'))})`);
  database.close();
  return rows.map((row) => Object.values(row));
}

describe('the index of a folder of tars', () => {
  test('has tar, offset and size of each image, ordered by tar and offset', async () => {
    await using folder = await testFolder();
    await pack(folder.path);
    const written = await index(folder.path);
    const rows = await rowsOf(folder.path);
    expect(rows.map(([id, tar]) => `${tar} ${id}`)).toEqual(
      [0, 1, 2].flatMap((tar) => [0, 3, 6].map((image) => `train/images_00${tar}.tar abc${tar + image}`)),
    );
    for (const [id, tar, offset, size] of rows) {
      const file = await readFile(join(folder.path, String(tar)));
      expect(file.subarray(Number(offset), Number(offset) + Number(size))).toEqual(images.find((image) => image.id === id)?.bytes);
    }
    expect(JSON.parse(await readFile(join(folder.path, 'index/index.json'), 'utf8'))).toEqual(written);
    expect(written.splits.train).toMatchObject({ images: 9, repeated: 0, wasKnown: 0 });
    expect(written.splits.train?.tars.map(({ images: n, md5Checked }) => [n, md5Checked])).toEqual(Array(3).fill([3, true]));
  });

  test('goes on after an interruption, and reads no tar again that it knows', async () => {
    await using folder = await testFolder();
    await pack(folder.path);
    const tar = join(folder.path, 'train/images_001.tar');
    const time = new Date('2024-01-01T00:00:00Z');
    await utimes(tar, time, time);
    const stop = new AbortController();
    const stopped = index(folder.path, { signal: stop.signal, onProgress: ({ done }) => done === 1 && stop.abort(new Error('enough')) });
    await expect(stopped).rejects.toThrow('enough');
    expect(await readdir(join(folder.path, 'index'))).toEqual(['parts']);
    const told: [string, boolean][] = [];
    const written = await index(folder.path, { onProgress: (progress) => told.push([progress.tar, progress.wasKnown]) });
    expect(told.filter(([, wasKnown]) => wasKnown).length).toBeGreaterThanOrEqual(1);
    expect(written.splits.train?.images).toBe(9);
    // A known tar is not opened: broken bytes of the same size and time are not seen.
    await writeFile(tar, Buffer.alloc((await stat(tar)).size, 1));
    await utimes(tar, time, time);
    const again = await index(folder.path);
    expect(again.splits.train?.wasKnown).toBe(3);
  });

  test('reads a tar again that has changed, and those that are new', async () => {
    await using folder = await testFolder();
    await pack(folder.path, 3);
    await index(folder.path);
    await pack(folder.path, 4);
    const written = await index(folder.path);
    expect(written.splits.train).toMatchObject({ images: 9, wasKnown: 0, repeated: 0 });
    const long = new Date(0);
    await utimes(join(folder.path, 'train/images_003.tar'), long, long);
    expect((await index(folder.path)).splits.train?.wasKnown).toBe(3);
  });

  test('counts ids that stand in two tars', async () => {
    await using folder = await testFolder();
    await pack(folder.path, 2);
    await writeFile(join(folder.path, 'train/images_002.tar'), await readFile(join(folder.path, 'train/images_000.tar')));
    expect((await index(folder.path)).splits.train).toMatchObject({ images: 14, repeated: 5 });
  });

  test('without md5 reads the headers alone; asked for md5 later, it looks at every byte', async () => {
    await using folder = await testFolder();
    await pack(folder.path);
    const md5File = join(folder.path, 'md5sum/train/md5.images_001.txt');
    await writeFile(md5File, `${'0'.repeat(32)}  images_001.tar\n`);
    expect((await index(folder.path, { withMd5: false })).splits.train?.tars[1]).toMatchObject({ md5: null, md5Checked: false });
    await expect(index(folder.path)).rejects.toMatchObject({ code: 'corrupt_tar', details: { expected: '0'.repeat(32) } });
    await rm(md5File);
    const written = await index(folder.path);
    expect(written.splits.train?.tars.map(({ md5Checked }) => md5Checked)).toEqual([true, false, true]);
  });

  test('a tar that is cut off fails it, and no split is written', async () => {
    await using folder = await testFolder();
    await pack(folder.path);
    await truncate(join(folder.path, 'train/images_002.tar'), 1000);
    await expect(index(folder.path, { withMd5: false })).rejects.toMatchObject({ code: 'corrupt_tar' });
    expect(await readdir(join(folder.path, 'index'))).toEqual(['parts']);
  });
});

import { copyFile, mkdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { listName } from '@cairn/contract';
import { expect, test } from 'vitest';
import { openDatabase, pathLiteral } from '../duckdb.ts';
import { imageSplits } from '../folders.ts';
import { packTars } from '../tars/pack-tars.ts';
import { tarIndexFolder, writeTarIndex } from '../tars/write-tar-index.ts';
import { handMade, testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import { type ListsManifest, readList } from './manifest.ts';
import { prepareLists } from './prepare-lists.ts';

const ids = ['aaa0', 'bbb1', 'ccc2', 'ddd3', 'eee4'];

/** A collection whose five images lie in two tars; as many lists as are asked for are made of it. */
async function collection(root: string) {
  const tars = join(root, 'tars');
  await packTars(
    tars,
    'train',
    ids.map((id, i) => ({ id, read: async () => Buffer.alloc(100 + i * 700, i) })),
    2,
  );
  await writeFiles(join(root, 'metadata'), { 'train_clean.csv': ['landmark_id,images', `7,${ids.join(' ')}`] });
  let made = 0;
  const prepare = async (): Promise<{ manifest: ListsManifest; places: (string | number | null)[][] }> => {
    const out = join(root, `out-${made++}`);
    const images = { kind: 'tars', root: tars } as const;
    const manifest = await prepareLists({ metadata: join(root, 'metadata'), images, lists: ['clean'], testSeed: 0, out });
    const rows = (await Array.fromAsync(readList(join(out, 'lists/clean.parquet')))).flat();
    return { manifest, places: rows.map(({ imageId, tar, offset, size }) => [imageId, tar, offset, size]) };
  };
  return { tars, prepare };
}

/** Other bytes of the same size; the time of change is put back when `isHidden`. */
async function overwrite(path: string, { isHidden }: { isHidden: boolean }): Promise<void> {
  const { size, atime, mtime } = await stat(path);
  await writeFile(path, Buffer.alloc(size, 1));
  await utimes(path, atime, isHidden ? mtime : new Date(mtime.getTime() + 5000));
}

async function openCollection(root: string) {
  const { tars, prepare } = await collection(root);
  const first = join(tars, 'train/images_000.tar');
  // A whole number of milliseconds, which utimes can put back.
  await utimes(first, new Date('2024-01-01T00:00:00Z'), new Date('2024-01-01T00:00:00Z'));
  const index = (withMd5: boolean) => writeTarIndex({ root: tars, splits: ['train'], out: tarIndexFolder(tars), withMd5 });
  return { first, prepare, index };
}

test('lists reuse the index next to the tars without opening a tar, with the same result', async () => {
  await using folder = await testFolder();
  const { first, prepare, index } = await openCollection(folder.path);
  const without = await prepare();
  await index(true);
  await overwrite(first, { isHidden: true });
  const known = await prepare();
  expect(known.places).toEqual(without.places);
  expect(known.places).toHaveLength(5);
  expect(known.manifest.tars).toEqual(without.manifest.tars);
});

test('a tar that has changed since, and one indexed without its md5, are read', async () => {
  await using folder = await testFolder();
  const { first, prepare, index } = await openCollection(folder.path);
  await index(true);
  await overwrite(first, { isHidden: false });
  await expect(prepare()).rejects.toMatchObject({ code: 'corrupt_tar', message: expect.stringContaining('images_000.tar has the md5') });

  const other = join(folder.path, 'other');
  await mkdir(other);
  const unchecked = await openCollection(other);
  await unchecked.index(false);
  await overwrite(unchecked.first, { isHidden: true });
  await expect(unchecked.prepare()).rejects.toMatchObject({ code: 'corrupt_tar' });
});

test.each([
  ['is not Parquet', null],
  ['has other columns', 'select 1 as x from range(3)'],
  ['has columns of another type', `select 'aaa0' as image_id, 'x' as tar, 'password' as "offset", 1 as size from range(3)`],
  ['has more rows than its entry says', `select 'aaa0' as image_id, 'x' as tar, 512 as "offset", 1 as size from range(4)`],
  ['names something else than images', `select '../aaa0' as image_id, 'x' as tar, 512 as "offset", 1 as size from range(3)`],
  ['leads out of the tar', `select 'aaa0' as image_id, 'x' as tar, 512 as "offset", 99999 as size from range(3)`],
  ['has negative sizes', `select 'aaa0' as image_id, 'x' as tar, 512 as "offset", -1 as size from range(3)`],
])('an index next to the tars that %s is refused by its name, without a word of what it holds', async (_, rows) => {
  await using folder = await testFolder();
  const { first, prepare, index } = await openCollection(folder.path);
  await index(true);
  const part = join(tarIndexFolder(dirname(dirname(first))), 'parts/train/images_000.parquet');
  await writeFile(part, 'the password');
  if (rows !== null) {
    const database = await openDatabase();
    await database.run(`copy (${rows}) to ${pathLiteral(part)} (format parquet)`);
    database.close();
  }
  const error = await prepare().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'corrupt_tar', message: expect.stringMatching(`^${part} is not an index of train/images_000.tar`) });
  expect(String(error)).not.toContain('password');
});

test('an md5 file that came after the index is compared with what the index found', async () => {
  await using folder = await testFolder();
  const { prepare, index } = await openCollection(folder.path);
  await index(true);
  await writeFile(join(folder.path, 'tars/md5sum/train/md5.images_001.txt'), `${'0'.repeat(32)}  images_001.tar\n`);
  await expect(prepare()).rejects.toMatchObject({ code: 'corrupt_tar', details: { expected: '0'.repeat(32) } });
});

test('an image in two places has the last one, as in tars that are unpacked one after another', async () => {
  await using folder = await testFolder();
  const { tars, prepare } = await collection(folder.path);
  // Two more tars: the first holds eee4 twice more, the second bbb1 once.
  const again = ['xxx8', 'xxx9', 'eee4', 'bbb1', 'eee4'];
  await packTars(
    join(folder.path, 'more'),
    'train',
    again.map((id, i) => ({ id, read: async () => Buffer.alloc(50 + i, i) })),
    2,
  );
  await copyFile(join(folder.path, 'more/train/images_000.tar'), join(tars, 'train/images_002.tar'));
  await copyFile(join(folder.path, 'more/train/images_001.tar'), join(tars, 'train/images_003.tar'));
  const { places } = await prepare();
  expect([places[1], places[4]]).toEqual([
    ['bbb1', 'train/images_003.tar', expect.any(Number), 53],
    ['eee4', 'train/images_002.tar', expect.any(Number), 54],
  ]);
});

test('an md5 counts as checked only where there is an md5 file, read now or known from the index', async () => {
  await using folder = await testFolder();
  const { prepare, index } = await openCollection(folder.path);
  await rm(join(folder.path, 'tars/md5sum/train/md5.images_001.txt'));
  const checked = async () => (await prepare()).manifest.tars?.train?.tars.map(({ md5Checked }) => md5Checked);
  expect(await checked()).toEqual([true, false]);
  await index(true);
  expect(await checked()).toEqual([true, false]);
});

test.each(listName.options)('the list %s alone has the tars of every image that it names, and no others', async (list) => {
  await using folder = await testFolder();
  const [metadata, tars, out] = ['metadata', 'tars', 'out'].map((name) => join(folder.path, name)) as [string, string, string];
  await writeFiles(metadata, { ...handMade, 'competition_index.csv': ['id', 'i1iiii', 'x1xxxx'] });
  const images = {
    train: ['a1aaaa', 'a2aaaa', 'a3aaaa', 'b1bbbb', 'b2bbbb', 'd1dddd', 'd2dddd', 'g1gggg', 'g2gggg'],
    index: ['i1iiii', 'i2iiii', 'i3iiii', 'i4iiii', 'i5iiii', 'i6iiii', 'x1xxxx'],
    test: ['q1qqqq', 'q2qqqq', 'q3qqqq', 'q4qqqq'],
  } as const;
  for (const split of imageSplits) {
    const packed = images[split].map((id, i) => ({ id, read: async () => Buffer.alloc(20 + i) }));
    await packTars(tars, split, packed, 1);
  }
  const manifest = await prepareLists({ metadata, images: { kind: 'tars', root: tars }, lists: [list], testSeed: 0, out });
  const rows = (await Array.fromAsync(readList(join(out, `lists/${list}.parquet`)))).flat();
  const named = new Set(rows.map(({ path }) => path.split('/')[0]));
  expect(manifest.lists[list]?.missingImages).toBe(0);
  expect(rows.every(({ tar, path }) => tar?.split('/')[0] === path.split('/')[0])).toBe(true);
  expect(Object.keys(manifest.tars ?? {})).toEqual(imageSplits.filter((split) => named.has(split)));
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packTars } from '../tars/pack-tars.ts';
import { testFolder } from '../testing/hand-made-collection.ts';
import { collectionImages, writeCollection } from '../testing/object-collection.ts';
import { readList } from './manifest.ts';
import { planExtraction } from './plan-extraction.ts';

const { train, index } = collectionImages;

test('the ids of a text file or a list are found in tars in the order of the tars, and in a folder in their own', async () => {
  await using folder = await testFolder();
  const [tars, tree] = [join(folder.path, 'tars'), join(folder.path, 'tree')];
  await writeCollection(tars, 'tars');
  await writeCollection(tree, 'folder');
  const list = join(folder.path, 'ids.txt');
  await writeFile(list, [train[8], index[1], '', train[0], index[1], train[1]].join('\r\n'));
  const planned = async (kind: 'tars' | 'folder', root: string, from: string, out: string) => {
    const { images } = await planExtraction({ list: from, source: { kind, root }, places: null, out });
    const rows = await Array.fromAsync(readList(out));
    expect(rows.flat().map(({ imageNumber }) => imageNumber)).toEqual(Array.from({ length: images }, (_, n) => n));
    return rows.flat();
  };
  const ofTree = await planned('folder', tree, list, join(folder.path, 'tree.parquet'));
  expect(ofTree.map(({ imageId }) => imageId)).toEqual([train[8], index[1], train[0], train[1]]);
  expect(ofTree[0]).toMatchObject({ path: `train/g/2/g/${train[8]}.jpg`, fileBytes: 50_000, tar: null });
  // Tars are dealt round robin: the even images of a split are in the first.
  const ofTars = await planned('tars', tars, join(folder.path, 'tree.parquet'), join(folder.path, 'tars.parquet'));
  expect(ofTars.map(({ imageId, tar }) => [imageId, tar])).toEqual([
    [index[1], 'index/images_001.tar'],
    [train[0], 'train/images_000.tar'],
    [train[8], 'train/images_000.tar'],
    [train[1], 'train/images_001.tar'],
  ]);

  const refused = async (text: string, root = tree) => {
    await writeFile(list, text);
    const planning = planExtraction({ list, source: { kind: 'folder', root }, places: null, out: join(folder.path, 'none.parquet') });
    return planning.then(String, ({ code, message }) => `${code}: ${message}`);
  };
  expect(await refused(`${train[0]}\nffff1\nffff2\n`)).toMatch(/bad_row: .*ids.txt, line 2: .*tree has no image ffff1, ffff2 in train/);
  expect(await refused(`${train[0]}\na/../b\n`)).toMatch(/bad_row: .*ids.txt, line 2: expected an image id/);
  expect(await refused('\n')).toMatch(/empty_list: .* has no ids/);
  expect(await refused(train[0], '/nowhere')).toMatch(/missing_file: The source \/nowhere does not exist/);
});

test('an image that is in several tars is read once: from the first split, and there from the last tar', async () => {
  await using folder = await testFolder();
  const root = join(folder.path, 'tars');
  const images = (...ids: string[]) => ids.map((id) => ({ id, read: async () => Buffer.from(`pixels of ${id}`) }));
  // Dealt round robin: tar 0 has a000, c000 and tar 1 a000, b000.
  await packTars(root, 'index', images('a000', 'a000', 'c000', 'b000'), 2);
  await packTars(root, 'test', images('a000', 'b000', 'd000'), 1);
  const [list, out] = [join(folder.path, 'ids.txt'), join(folder.path, 'plan.parquet')];
  await writeFile(list, 'a000\nb000\nc000\nd000\n');
  expect(await planExtraction({ list, source: { kind: 'tars', root }, places: null, out })).toEqual({ images: 4 });
  const rows = (await Array.fromAsync(readList(out))).flat();
  expect(rows.map(({ imageId, tar, imageNumber }) => [imageId, tar, imageNumber])).toEqual([
    ['c000', 'index/images_000.tar', 0],
    ['a000', 'index/images_001.tar', 1],
    ['b000', 'index/images_001.tar', 2],
    ['d000', 'test/images_000.tar', 3],
  ]);
});

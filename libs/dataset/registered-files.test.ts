import { mkdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatasetFiles, ImageSource, ListName } from '@cairn/contract';
import { expect, test } from 'vitest';
import { inspectDataset } from './check-dataset.ts';
import { imagePath } from './folders.ts';
import { openImageReader } from './images/open-image-reader.ts';
import { readList } from './lists/manifest.ts';
import { prepareLists } from './lists/prepare-lists.ts';
import { packTars } from './tars/pack-tars.ts';
import { handMade, handMadeCountries, testFolder, writeFiles } from './testing/hand-made-collection.ts';

const lists = ['clean', 'full', 'query', 'index'] as const satisfies ListName[];

/** The hand-made collection with an image file for each id, registered. */
async function registered(path: string, kind: ImageSource['kind'] = 'folder') {
  const metadata = join(path, 'metadata');
  const countries = join(path, 'countries');
  const root = join(path, 'images');
  await writeFiles(metadata, handMade);
  await writeFiles(countries, handMadeCountries);
  const ids = { train: ['a1aaaa', 'b1bbbb'], index: ['i1iiii', 'i2iiii'], test: ['q1qqqq'] } as const;
  for (const split of ['train', 'index', 'test'] as const) {
    if (kind === 'folder') await writeFiles(root, Object.fromEntries(ids[split].map((id) => [imagePath(split, id), `pixels of ${id}`])));
    else
      await packTars(
        root,
        split,
        ids[split].map((id) => ({ id, read: async () => Buffer.from(`pixels of ${id}`) })),
        1,
      );
  }
  const source: ImageSource = { kind, root, metadata, countries };
  const { files } = await inspectDataset(source, { roots: [path] });
  const out = join(path, 'out');
  const prepare = async (wanted: readonly ListName[] = lists, roots: readonly string[] = [path], of: DatasetFiles = files) => {
    await rm(out, { recursive: true, force: true });
    return prepareLists({ metadata, countries, images: { kind, root }, lists: wanted, testSeed: 0, registered: of, roots, out });
  };
  const rowsOf = async (list: ListName) => (await Array.fromAsync(readList(join(out, `lists/${list}.parquet`)))).flat();
  return { path, metadata, countries, root, source, files, prepare, rowsOf };
}

test('lists are made of the files that were registered, and say of each image what its file was', async () => {
  await using folder = await testFolder();
  const { prepare, rowsOf, root } = await registered(folder.path);
  const manifest = await prepare();
  expect(manifest.lists.index).toMatchObject({ rows: 7, missingImages: 5 });
  expect(manifest.lists.index?.missingExamples).toHaveLength(5);
  const row = (await rowsOf('index')).find(({ imageId }) => imageId === 'i1iiii');
  expect(row).toMatchObject({ fileBytes: 'pixels of i1iiii'.length, fileChangedMs: expect.any(Number) });
  const reader = await openImageReader(root, [folder.path]);
  expect((await reader.read({ path: row?.path ?? '', fileBytes: row?.fileBytes, fileChangedMs: row?.fileChangedMs })).toString()).toContain(
    'i1iiii',
  );
  await reader.close();
});

test.each<[string, (at: Awaited<ReturnType<typeof registered>>) => Promise<unknown>, string]>([
  [
    'a CSV file with a row less',
    ({ metadata }) => writeFile(join(metadata, 'train_clean.csv'), handMade['train_clean.csv'].slice(0, 2).join('\n')),
    'train_clean.csv',
  ],
  ['a file of the countries', ({ countries }) => writeFile(join(countries, 'TR.json'), '[]'), 'countries/TR.json'],
  [
    'a file that gave labels and is gone',
    ({ metadata }) => rm(join(metadata, 'index_image_to_landmark.csv')),
    'index_image_to_landmark.csv',
  ],
  [
    'an image in the place of another',
    ({ root }) => writeFile(join(root, imagePath('index', 'i1iiii')), 'another picture'),
    'images/index',
  ],
  ['an image that was touched', ({ root }) => utimes(join(root, imagePath('train', 'a1aaaa')), 1, 1), 'images/train'],
  ['one image more', ({ root }) => writeFiles(root, { [imagePath('test', 'q2qqqq')]: 'new' }), 'images/test'],
])('%s ends the preparation with the file and both digests', async (_, change, file) => {
  await using folder = await testFolder();
  const at = await registered(folder.path);
  await change(at);
  const error = await at.prepare().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({
    code: 'dataset_changed',
    details: { file: expect.stringContaining(file), registered: expect.stringMatching(/^[0-9a-f]{64}$/) },
  });
});

test('a split without any file is the fault of the machine', async () => {
  await using folder = await testFolder();
  const { root, prepare } = await registered(folder.path);
  await rm(join(root, 'index'), { recursive: true });
  await mkdir(join(root, 'index'));
  await expect(prepare()).rejects.toMatchObject({ code: 'storage_failed' });
});

test('an imported list that was added or removed since is a change', async () => {
  await using folder = await testFolder();
  const { metadata, prepare, files } = await registered(folder.path);
  await prepare(['clean']);
  await writeFiles(join(metadata, 'imported/lists'), {
    'clean.parquet': await readFile(join(folder.path, 'out/lists/clean.parquet'), 'latin1'),
  });
  await expect(prepare(['clean'])).rejects.toMatchObject({
    code: 'dataset_changed',
    details: { file: 'imported/lists/clean.parquet', registered: null },
  });
  await rm(join(metadata, 'imported'), { recursive: true });
  const withList = { ...files, metadata: { ...files.metadata, 'imported/lists/clean.parquet': { sha256: 'a'.repeat(64), bytes: 1 } } };
  await expect(prepare(['clean'], undefined, withList)).rejects.toMatchObject({ code: 'dataset_changed', details: { found: null } });
});

test('a file that became a link out of the allowed folders is refused', async () => {
  await using folder = await testFolder();
  const { metadata, prepare } = await registered(folder.path);
  await rm(join(metadata, 'train.csv'));
  await symlink('/proc/self/environ', join(metadata, 'train.csv'));
  await expect(prepare()).rejects.toMatchObject({ code: 'folder_not_allowed' });
  await expect(prepare(lists, ['/nowhere'])).rejects.toMatchObject({ code: 'folder_not_allowed' });
});

test('a tar that was replaced ends the preparation with both md5s, and the reading of its images', async () => {
  await using folder = await testFolder();
  const { prepare, rowsOf, root } = await registered(folder.path, 'tars');
  await prepare(['clean', 'index']);
  const row = (await rowsOf('index')).find(({ imageId }) => imageId === 'i1iiii');
  const reader = await openImageReader(root, [folder.path]);
  const image = row ?? { path: '' };
  expect((await reader.read(image)).toString()).toBe('pixels of i1iiii');
  await packTars(root, 'index', [{ id: 'i1iiii', read: async () => Buffer.from('other pixels') }], 1);
  await expect(reader.read(image)).rejects.toMatchObject({ code: 'dataset_changed' });
  await reader.close();
  await expect(prepare(['clean', 'index'])).rejects.toMatchObject({
    code: 'dataset_changed',
    details: { file: join(root, 'index/images_000.tar') },
  });
});

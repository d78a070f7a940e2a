import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { listName } from '@cairn/contract';
import { expect, test } from 'vitest';
import { openDatabase, pathLiteral } from '../duckdb.ts';
import { createFileGate } from '../file-gate.ts';
import { takeInMetadata } from '../metadata/take-in.ts';
import { handMade, testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import { checkImportedList, importedFolder } from './imported-lists.ts';
import { readList } from './manifest.ts';
import { prepareLists } from './prepare-lists.ts';

const columns = 'image_id, path, label, noisy, null::varchar as country, continent, 0 as image_number';

/** Writes rows (image id, label, noisy, continent) as `cairn import lists` does. */
async function writeImported(metadata: string, list: string, rows: string[], select = columns): Promise<void> {
  await mkdir(join(metadata, importedFolder), { recursive: true });
  const database = await openDatabase();
  const path = join(metadata, importedFolder, `${list}.parquet`);
  const values = `select *, 'train/' || image_id[1] || '/' || image_id[2] || '/' || image_id[3] || '/' || image_id || '.jpg' as path
    from (values ${rows.map((row) => `(${row})`).join(', ')}) t(image_id, label, noisy, continent)`;
  await database.run(`copy (select ${select} from (${values})) to ${pathLiteral(path)} (format parquet)`);
  database.close();
}

async function collection(root: string) {
  const metadata = join(root, 'metadata');
  await writeFiles(metadata, handMade);
  let made = 0;
  const prepare = async (lists: Parameters<typeof prepareLists>[0]['lists']) => {
    const out = join(root, `out-${made++}`);
    const manifest = await prepareLists({ metadata, images: { kind: 'folder', root }, lists, testSeed: 0, out });
    const rowsOf = async (list: string) => (await Array.fromAsync(readList(join(out, `lists/${list}.parquet`)))).flat();
    return { manifest, rowsOf };
  };
  return { metadata, prepare };
}

const rows = ["'zz9', 4, 1, 'Asia'", "'aa1', 0, 0, null", "'zz9', 2, 0, 'Europe'"];

test('a list of more rows than any collection has is refused', async () => {
  await using folder = await testFolder();
  await writeImported(folder.path, 'full', rows);
  const database = await openDatabase();
  const path = join(folder.path, importedFolder, 'full.parquet');
  await checkImportedList(database, { path, copy: path }, 3);
  const refusal = { code: 'bad_row', message: `${path} has 3 rows; a list has at most 2` };
  await expect(checkImportedList(database, { path, copy: path }, 2)).rejects.toMatchObject(refusal);
  database.close();
});

test('a list that lies ready is taken row for row, with its labels and continents, and needs none of the CSV files', async () => {
  await using folder = await testFolder();
  const { metadata, prepare } = await collection(folder.path);
  const before = await (await prepare(['clean'])).rowsOf('clean');
  await writeImported(metadata, 'full', rows);
  await rm(join(metadata, 'train.csv'));
  const { manifest, rowsOf } = await prepare(['full', 'clean']);
  expect(
    (await rowsOf('full')).map(({ imageId, path, label, noisy, continent, imageNumber }) => [
      imageId,
      path,
      label,
      noisy,
      continent,
      imageNumber,
    ]),
  ).toEqual([
    ['zz9', 'train/z/z/9/zz9.jpg', 4, true, 'Asia', 0],
    ['aa1', 'train/a/a/1/aa1.jpg', 0, false, null, 1],
    ['zz9', 'train/z/z/9/zz9.jpg', 2, false, 'Europe', 0],
  ]);
  expect(manifest.lists.full).toMatchObject({ rows: 3, images: 2, labels: 3, classes: 5, noisy: 1 });
  expect(manifest.inputs).toHaveProperty([`${importedFolder}/full.parquet`]);
  // What does not lie ready is made as ever.
  expect(await rowsOf('clean')).toEqual(before);
});

test('a list that lies ready is another collection', async () => {
  await using folder = await testFolder();
  const { metadata } = await collection(folder.path);
  const digest = async () => {
    await using copies = await testFolder();
    const wanted = { lists: ['clean'], importable: listName.options } as const;
    return (await takeInMetadata({ metadata }, wanted, { folder: copies.path, gate: await createFileGate(null) })).digests;
  };
  const without = await digest();
  await writeImported(metadata, 'c2x', rows);
  const withList = await digest();
  expect(withList).not.toEqual(without);
  await writeImported(metadata, 'c2x', rows.toReversed());
  expect(await digest()).not.toEqual(withList);
});

test.each([
  ['a label below -1', ["'aa1', 0, 0, 'Asia'", "'aa2', -2, 0, 'Asia'"], columns, 'bad_row', 'full.parquet, row 1: it needs'],
  ['an id that would leave its folder', ["'../', 0, 0, 'Asia'"], columns, 'bad_row', 'full.parquet, row 0: it needs'],
  [
    'a continent that the sampler gld does not know',
    ["'aa1', 0, 0, null", "'aa2', 0, 0, 'Atlantis'"],
    columns,
    'bad_row',
    'row 1: it needs',
  ],
  ['a label that is null', ["'aa1', null::integer, 0, 'Asia'"], columns, 'bad_row', 'row 0'],
  ['a column that is missing', rows, 'image_id, path, label', 'missing_column', 'full.parquet lacks the column noisy, continent'],
])('%s is named, and no list is made', async (_, bad, select, code, message) => {
  await using folder = await testFolder();
  const { metadata, prepare } = await collection(folder.path);
  await writeImported(metadata, 'full', bad, select);
  await expect(prepare(['full'])).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
});

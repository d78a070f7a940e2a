import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { CairnError, type ListName } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import type { CheckedDataset } from './check-dataset.ts';
import { checkDataset } from './check-dataset.ts';
import type { HandMadeFiles } from './testing/hand-made-collection.ts';
import { handMade, handMadeCountries, testFolder, writeFiles } from './testing/hand-made-collection.ts';

const everything: ListName[] = ['clean', 'c2x', 'full', 'index_train', 'test', 'all', 'query', 'index'];
const trees = { 'images/train/a/1/a/a1aaaa.jpg': 'x', 'images/index/i/1/i/i1iiii.jpg': 'x', 'images/test/q/1/q/q1qqqq.jpg': 'x' };

/** Checks the hand-made collection with some files replaced (null: removed). */
async function check(files: Record<string, HandMadeFiles[string] | null> = {}, lists = everything): Promise<CheckedDataset> {
  await using folder = await testFolder();
  const { path } = folder;
  const under = (name: string, some: HandMadeFiles): HandMadeFiles =>
    Object.fromEntries(Object.entries(some).map(([file, text]) => [`${name}/${file}`, text]));
  await writeFiles(path, { ...under('metadata', handMade), ...under('countries', handMadeCountries), ...trees });
  for (const [file, text] of Object.entries(files)) {
    if (text === null) await rm(join(path, file), { recursive: true });
    else await writeFiles(path, { [file]: text });
  }
  return await checkDataset({
    metadata: join(path, 'metadata'),
    countries: join(path, 'countries'),
    images: { kind: 'folder', root: join(path, 'images') },
    lists,
    roots: null,
  });
}

describe('a collection is checked', () => {
  test('and its rows are counted when all is well', async () => {
    const checked = await check();
    expect(checked.rows).toMatchObject({ 'train.csv': 9, 'train_clean.csv': 2, 'index.csv': 7, 'retrieval_solution_v2.1.csv': 4 });
    expect(checked.countries).toBe(4);
  });

  test('a missing file names the lists that need it', async () => {
    await expect(check({ 'metadata/index_image_to_landmark.csv': null })).rejects.toMatchObject({
      code: 'missing_file',
      message: expect.stringMatching(
        /index_image_to_landmark\.csv is neither in .* nor in .*index; the lists index_train, test, all need it/,
      ),
    });
    await expect(check({ 'metadata/index_image_to_landmark.csv': null }, ['clean', 'query'])).resolves.toBeDefined();
  });

  test.each([
    ['images', 'The image folder'],
    ['metadata', 'The metadata folder'],
    ['countries', 'The countries folder'],
  ])('a missing %s folder, or a file in its place, is reported before any file in it', async (folder, what) => {
    const missing = expect.stringMatching(new RegExp(`^${what} .*/${folder} does not exist`));
    await expect(check({ [folder]: null })).rejects.toMatchObject({ code: 'missing_file', message: missing });
    const file = expect.stringMatching(new RegExp(`^${what} .*/${folder} is a file, not a folder`));
    await expect(check({ [folder]: null, [`./${folder}`]: 'x' })).rejects.toMatchObject({ code: 'missing_file', message: file });
  });

  test('a missing image folder names the list that needs it', async () => {
    await expect(check({ 'images/index': null }, ['clean', 'index'])).rejects.toMatchObject({
      code: 'missing_file',
      message: expect.stringMatching(/images\/index is not a folder with images; the list index needs it/),
    });
  });

  test.each([
    ['train.csv', 'id,landmark\n', 'landmark_id', 'expected id, landmark_id'],
    ['retrieval_solution_v2.1.csv', 'id,images\n', 'Usage', 'expected id, images, Usage'],
    ['index.csv', '', 'id', 'is empty: expected id'],
    ['index.csv', 'abc\n', 'id', 'lacks the column id'],
    ['index.csv', '\n\n', 'id', 'is without a first line that can be read'],
    ['index.csv', Buffer.from('\ufeffid\nabc\n', 'utf16le'), 'id', 'is in UTF-16: expected id'],
    ['index.csv', '\0i\0d\0\n', 'id', 'NUL bytes, as UTF-16 has'],
    ['train_label_to_category.csv', 'landmark_id,category,supercategory\n', 'category', 'exactly the columns landmark_id, category'],
    ['train.csv', 'id,id,landmark_id\n', 'id', 'has duplicate columns'],
  ])('a wrong header of %s names the columns expected', async (file, text, column, words) => {
    const error = await check({ [`metadata/${file}`]: text }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'missing_column', message: expect.stringContaining(words) });
    expect((error as Error).message).toContain(column);
  });

  test.each([
    ['bzip2', 'BZh91AY'],
    ['xz', Buffer.from('fd377a585a00', 'hex')],
    ['zstd', Buffer.from('28b52ffd0458', 'hex')],
    ['zip', 'PK\x03\x04'],
  ])('a file compressed with %s instead of gzip is refused as what it is', async (format, text) => {
    for (const file of ['metadata/index.csv', 'countries/country_codes.json'])
      await expect(check({ [file]: text })).rejects.toMatchObject({
        code: 'bad_row',
        message: expect.stringContaining(`${file} is a file of ${format}, not text`),
      });
  });

  test.each([
    ['with a byte order mark', Buffer.from('\ufeff["FR", "NA", "TR", "XK", "OTHER"]'), null],
    ['in UTF-16', Buffer.from('\ufeff["JP"]', 'utf16le'), 'expected JSON in UTF-8'],
    ['in Latin-1', Buffer.from('["J\xe9"]', 'latin1'), 'expected JSON in UTF-8'],
  ])('codes of countries %s are read, or refused as what they are', async (_, bytes, message) => {
    const checked = check({ 'countries/country_codes.json': bytes });
    if (message === null) await expect(checked).resolves.toBeDefined();
    else await expect(checked).rejects.toMatchObject({ code: 'bad_row', message: expect.stringContaining(message) });
  });

  const solution = handMade['retrieval_solution_v2.1.csv'];
  test.each([
    ['a row with too few columns', 'train.csv', ['id,url,landmark_id', 'abc,u,1', '', 'abd,u'], 4, 'landmark_id'],
    ['a row with too many columns', 'train.csv', ['id,url,landmark_id', 'abc,u,1', 'abd,http://x/a,b.jpg,2'], 3, 'landmark_id'],
    ['an open quote', 'train.csv', ['id,url,landmark_id', 'abc,u,1', 'abd,"u,2'], 3, null],
    ['an id that climbs out of its folder', 'train.csv', ['id,url,landmark_id', 'abc,u,1', '../../../etc/passwd,u,1'], 3, 'id'],
    ['an id with dots', 'index.csv', ['id', 'abc', '...'], 3, 'id'],
    ['an absolute path as an id', 'index.csv', ['id', '/etc/passwd'], 2, 'id'],
    ['an id with a zero byte', 'index.csv', ['id', 'abc\0def'], 2, 'id'],
    ['a path among the clean images', 'train_clean.csv', ['landmark_id,images', '1,abc abd', '2,abe ../abf'], 3, 'images'],
    ['two spaces among the clean images', 'train_clean.csv', ['landmark_id,images', '1,abc  abd'], 2, 'images'],
    ['no landmark', 'train.csv', ['id,url,landmark_id', 'abc,u,'], 2, 'landmark_id'],
    ['a clean landmark twice', 'train_clean.csv', ['landmark_id,images', '1,abc', '2,abd', '1,abe'], 4, 'landmark_id'],
    ['an index image twice', 'index.csv', ['id', 'abc', 'abd', 'abc'], 4, 'id'],
    ['an unknown usage', 'retrieval_solution_v2.1.csv', [...solution, 'q9qqqq,i1iiii,public'], 6, 'Usage'],
    ['a scored query without images', 'retrieval_solution_v2.1.csv', [...solution, 'q9qqqq,None,Public'], 6, 'images'],
    ['a category without its prefix', 'train_label_to_category.csv', ['landmark_id,category', '70,Alpha'], 2, 'category'],
    [
      'a category without a name',
      'index_label_to_category.csv',
      ['landmark_id,category', '1,http://commons.wikimedia.org/wiki/Category:'],
      2,
      'category',
    ],
    ['a category with a control character', 'train_label_to_category.csv', ['landmark_id,category', '70,Al\x01pha'], 2, 'category'],
    ['a category alone', 'index_label_to_category.csv', ['landmark_id,category', '17'], 2, 'category'],
    ['text that is not UTF-8', 'index.csv', Buffer.from('id\nabc\na\xffc\n', 'latin1').toString('latin1'), 3, 'id'],
  ] as const)('%s is named by file, line and column', async (_, file, text, line, column) => {
    const error = await check({ [`metadata/${file}`]: text }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'bad_row', details: { file, line, column } });
    expect((error as Error).message).toContain(`${file}, line ${line}, column`);
  });

  test.each([
    ['country_codes.json', '["FR",\n "NA" "TR"]', 'bad_row', 'line 2'],
    ['country_codes.json', '["../x"]', 'bad_row', 'country codes of letters'],
    ['country_codes.json', '["FR", "DE"]', 'missing_file', 'DE.json'],
    ['TR.json', '[{"title": "Alpha"}]', 'bad_row', 'objects with a `name`'],
    ['continent_codes.csv', 'Continent,Code\n', 'missing_column', 'Continent_Name, Two_Letter_Country_Code'],
    ['continent_codes.csv', null, 'missing_file', 'continent_codes.csv is not in'],
  ])('a wrong %s is named (%s)', async (file, text, code, words) => {
    await expect(check({ [`countries/${file}`]: text })).rejects.toMatchObject({ code, message: expect.stringContaining(words) });
  });
});

const many = Array.from({ length: 130_000 }, (_, n) => n.toString(16).padStart(16, '0')).join(' ');

test.each([
  ['an empty line at the end of a file of one column', { 'index.csv': ['id', 'i1iiii', '', 'i2iiii', '', ''] }, 'index.csv', 2],
  ['an empty line in a file of several columns', { 'train.csv': ['id,url,landmark_id', 'abc,u,1', '', 'abd,u,1', ''] }, 'train.csv', 2],
  ['some lines that end in CRLF', { 'train.csv': ['id,url,landmark_id', 'abc,u,1\r', 'abd,u,1'] }, 'train.csv', 2],
  ['a column without a name', { 'train.csv': [',id,url,landmark_id', '0,abc,u,1', '1,abd,u,1'] }, 'train.csv', 2],
  ['columns that differ in case alone', { 'train.csv': ['id,ID,landmark_id', 'abc,u,1', 'abd,u,1'] }, 'train.csv', 2],
  ['a column twice that is passed over', { 'train.csv': ['id,url,url,landmark_id', 'abc,u,v,1'] }, 'train.csv', 1],
  ['a landmark of more than 2 MB', { 'train_clean.csv': ['landmark_id,images', `1,${many}`] }, 'train_clean.csv', 1],
])('%s is read', async (_, files, name, rows) => {
  const checked = await check(Object.fromEntries(Object.entries(files).map(([file, text]) => [`metadata/${file}`, text])));
  expect(checked.rows[name]).toBe(rows);
});

test('no error has a word of the file but the names that were expected', async () => {
  const secret = 'hunter2-the-password';
  const wrong: Record<string, string | string[]>[] = [
    { 'metadata/train.csv': `${secret},${secret}\n` },
    { 'metadata/train.csv': ['id,url,landmark_id', `${secret}!,u,1`] },
    { 'metadata/train.csv': [`id,${secret},landmark_id`, `abc,"${secret},1`] },
    { 'metadata/train.csv': [`id,url,landmark_id`, `abc,${secret}`] },
    { 'metadata/index.csv': ['id', `${secret}\xff`] },
    { 'metadata/train_label_to_category.csv': ['landmark_id,category', `${secret},${secret}`] },
    { 'metadata/train_label_to_category.csv': `${secret}\n` },
    { 'metadata/imported/lists/clean.parquet': secret },
    { 'countries/country_codes.json': secret },
    { 'countries/country_codes.json': `["${secret}"]` },
    { 'countries/TR.json': `{"${secret}": 1}` },
    { 'countries/continent_codes.csv': `${secret}\n` },
    { 'countries/continent_codes.csv': ['Continent_Name,Two_Letter_Country_Code', `"${secret}`] },
  ];
  for (const files of wrong) {
    const error = await check(files).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CairnError);
    // As the log has it: with causes and their stacks.
    expect(inspect(error, { depth: 10 })).not.toContain('hunter2');
  }
});

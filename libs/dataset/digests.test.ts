import { rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fileDigest, folderDigest, metadataDigest, tarsDigest } from './digests.ts';
import { packTars } from './mini/pack-tars.ts';
import { handMade, handMadeCountries, testFolder, writeFiles } from './testing/hand-made-collection.ts';

const moment = new Date('2026-01-02T03:04:05Z');

describe('the digest of a folder', () => {
  test('depends on names, sizes and times, not on what is in the files', async () => {
    await using folder = await testFolder();
    const { path } = folder;
    const write = async (name: string, text: string): Promise<void> => {
      await writeFiles(path, { [name]: text });
      await utimes(join(path, name), moment, moment);
    };
    await write('train/a/b/c/abc.jpg', 'one');
    await write('train/a/b/d/abd.jpg', 'two');
    const first = await folderDigest(path);
    expect(first).toMatchObject({ files: 2, bytes: 6 });
    await write('train/a/b/c/abc.jpg', 'eno');
    expect(await folderDigest(path)).toEqual(first);
    await write('train/a/b/c/abc.jpg', 'longer');
    expect((await folderDigest(path)).digest).not.toBe(first.digest);
    await write('train/a/b/c/abc.jpg', 'one');
    expect(await folderDigest(path)).toEqual(first);
    await utimes(join(path, 'train/a/b/c/abc.jpg'), moment, new Date(moment.getTime() + 1000));
    expect((await folderDigest(path)).digest).not.toBe(first.digest);
    await utimes(join(path, 'train/a/b/c/abc.jpg'), moment, moment);
    await rename(join(path, 'train/a/b/d/abd.jpg'), join(path, 'train/a/b/d/abe.jpg'));
    expect((await folderDigest(path)).digest).not.toBe(first.digest);
  });
});

describe('the digest of tars', () => {
  test('is that of their md5s, read from the md5 files or from the tars', async () => {
    await using folder = await testFolder();
    const pack = (text: string): Promise<string[]> =>
      packTars(folder.path, 'index', [{ id: 'abc', read: async () => Buffer.from(text) }], 1);
    await pack('one');
    const first = await tarsDigest(folder.path, ['index']);
    await rm(join(folder.path, 'md5sum'), { recursive: true });
    expect(await tarsDigest(folder.path, ['index'])).toEqual(first);
    await pack('two');
    expect((await tarsDigest(folder.path, ['index'])).digest).not.toBe(first.digest);
  });
});

describe('the digest of metadata', () => {
  test('is that of the bytes of the files the lists need, wherever they lie', async () => {
    await using folder = await testFolder();
    const flat = join(folder.path, 'flat');
    const parted = join(folder.path, 'parted');
    await writeFiles(flat, handMade);
    const { 'train.csv': train, 'train_clean.csv': clean } = handMade;
    await writeFiles(parted, { 'train/train.csv': train, 'train/train_clean.csv': clean });
    const first = await metadataDigest({ metadata: flat, lists: ['c2x'] });
    expect(await metadataDigest({ metadata: parted, lists: ['c2x'] })).toEqual(first);
    expect(first.files['train.csv']).toEqual(await fileDigest(join(flat, 'train.csv')));
    expect((await metadataDigest({ metadata: flat, lists: ['all'] })).digest).not.toBe(first.digest);
    await writeFile(join(parted, 'train/train.csv'), 'id,url,landmark_id\n');
    expect((await metadataDigest({ metadata: parted, lists: ['c2x'] })).digest).not.toBe(first.digest);
  });

  test('takes in the countries', async () => {
    await using folder = await testFolder();
    const countries = join(folder.path, 'countries');
    await writeFiles(folder.path, handMade);
    await writeFiles(countries, handMadeCountries);
    const first = await metadataDigest({ metadata: folder.path, countries, lists: ['all'] });
    expect(Object.keys(first.files)).toContain('countries/XK.json');
    await writeFile(join(countries, 'XK.json'), '[]');
    expect((await metadataDigest({ metadata: folder.path, countries, lists: ['all'] })).digest).not.toBe(first.digest);
  });

  test('takes in the ids of the competition where they are, which index_expand is made from', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, handMade);
    const digest = async () => (await metadataDigest({ metadata: folder.path, lists: ['all'] })).digest;
    const without = await digest();
    await writeFile(join(folder.path, 'competition_index.csv'), 'id\ni1iiii\n');
    const first = await digest();
    expect(first).not.toBe(without);
    await writeFile(join(folder.path, 'competition_index.csv'), 'id\ni2iiii\n');
    expect(await digest()).not.toBe(first);
  });
});

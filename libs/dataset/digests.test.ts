import { rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ListName, listName } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import { fileDigest, folderDigest, tarMd5s } from './digests.ts';
import { createFileGate } from './file-gate.ts';
import { optionalFiles } from './metadata/files.ts';
import { type MetadataSource, takeInMetadata } from './metadata/take-in.ts';
import { packTars } from './tars/pack-tars.ts';
import { handMade, handMadeCountries, testFolder, writeFiles } from './testing/hand-made-collection.ts';

const gate = await createFileGate(null);
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
    const first = await folderDigest(path, { gate });
    expect(first).toMatchObject({ files: 2, bytes: 6 });
    await write('train/a/b/c/abc.jpg', 'eno');
    expect(await folderDigest(path, { gate })).toEqual(first);
    await write('train/a/b/c/abc.jpg', 'longer');
    expect((await folderDigest(path, { gate })).digest).not.toBe(first.digest);
    await write('train/a/b/c/abc.jpg', 'one');
    expect(await folderDigest(path, { gate })).toEqual(first);
    await utimes(join(path, 'train/a/b/c/abc.jpg'), moment, new Date(moment.getTime() + 1000));
    expect((await folderDigest(path, { gate })).digest).not.toBe(first.digest);
    await utimes(join(path, 'train/a/b/c/abc.jpg'), moment, moment);
    await rename(join(path, 'train/a/b/d/abd.jpg'), join(path, 'train/a/b/d/abe.jpg'));
    expect((await folderDigest(path, { gate })).digest).not.toBe(first.digest);
  });
});

describe('the md5s of tars', () => {
  test('are read from the md5 files or from the tars', async () => {
    await using folder = await testFolder();
    const pack = (text: string): Promise<string[]> =>
      packTars(folder.path, 'index', [{ id: 'abc', read: async () => Buffer.from(text) }], 1);
    await pack('one');
    const first = await tarMd5s(folder.path, ['index'], { gate });
    await rm(join(folder.path, 'md5sum'), { recursive: true });
    expect(await tarMd5s(folder.path, ['index'], { gate })).toEqual(first);
    await pack('two');
    expect(await tarMd5s(folder.path, ['index'], { gate })).not.toEqual(first);
  });
});

describe('the digest of metadata', () => {
  /** The digests of what the lists take in. */
  async function digestsOf(source: MetadataSource, lists: readonly ListName[]) {
    await using copies = await testFolder();
    const wanted = { lists, importable: listName.options, also: optionalFiles };
    return (await takeInMetadata(source, wanted, { folder: copies.path, gate })).digests;
  }

  test('is that of the bytes of the files the lists need, wherever they lie', async () => {
    await using folder = await testFolder();
    const flat = join(folder.path, 'flat');
    const parted = join(folder.path, 'parted');
    await writeFiles(flat, handMade);
    const { 'train.csv': train, 'train_clean.csv': clean } = handMade;
    await writeFiles(parted, { 'train/train.csv': train, 'train/train_clean.csv': clean });
    const first = await digestsOf({ metadata: flat }, ['c2x']);
    expect(await digestsOf({ metadata: parted }, ['c2x'])).toEqual(first);
    expect(first['train.csv']).toEqual(await fileDigest(join(flat, 'train.csv')));
    expect(await digestsOf({ metadata: flat }, ['all'])).not.toEqual(first);
    await writeFile(join(parted, 'train/train.csv'), 'id,url,landmark_id\n');
    expect(await digestsOf({ metadata: parted }, ['c2x'])).not.toEqual(first);
  });

  test('takes in the countries', async () => {
    await using folder = await testFolder();
    const countries = join(folder.path, 'countries');
    await writeFiles(folder.path, handMade);
    await writeFiles(countries, handMadeCountries);
    const first = await digestsOf({ metadata: folder.path, countries }, ['all']);
    expect(Object.keys(first)).toContain('countries/XK.json');
    await writeFile(join(countries, 'XK.json'), '[]');
    expect(await digestsOf({ metadata: folder.path, countries }, ['all'])).not.toEqual(first);
  });

  test('takes in the ids of the competition where they are, which index_expand is made from', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, handMade);
    const digests = async () => digestsOf({ metadata: folder.path }, ['all']);
    const without = await digests();
    await writeFile(join(folder.path, 'competition_index.csv'), 'id\ni1iiii\n');
    const first = await digests();
    expect(first).not.toEqual(without);
    await writeFile(join(folder.path, 'competition_index.csv'), 'id\ni2iiii\n');
    expect(await digests()).not.toEqual(first);
  });
});

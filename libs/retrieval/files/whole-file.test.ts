import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { wholeFile, writeWhole, writingTo } from './whole-file.ts';

test('a full disk is reported with the path', async () => {
  const failure = await writingTo('the staging folder', () => writeFile('/dev/full', 'x')).catch((error: unknown) => error);
  expect(failure).toMatchObject({
    code: 'storage_full',
    message: expect.stringContaining('the staging folder'),
    cause: { code: 'ENOSPC' },
  });
});

test('any other failure stays as it is', async () => {
  const failure = new Error('No such luck');
  await expect(writingTo('a place', () => Promise.reject(failure))).rejects.toBe(failure);
});

test('a file is there whole or not at all', async () => {
  const folder = await temporaryFolder();
  const path = join(folder, 'deep', 'a.txt');
  await writeWhole(path, 'first');
  await wholeFile(path, async (unfinished) => {
    await writeFile(unfinished, 'sec');
    throw new Error('killed');
  }).catch(() => undefined);
  expect(await readFile(path, 'utf8')).toBe('first');
  await writeWhole(path, 'second');
  expect(await readFile(path, 'utf8')).toBe('second');
  expect(await readdir(join(folder, 'deep'))).toEqual(['a.txt']);
});

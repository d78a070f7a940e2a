import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openFileCache } from './file-cache.ts';

test('a cache keeps what was used last and what is in use, makes a file once for all who ask, and tidies up', async () => {
  const base = await mkdtemp(join(tmpdir(), 'cairn-file-cache-'));
  onTestFinished(() => rm(base, { recursive: true }));
  // Of a process that was killed: no pid is that large.
  await mkdir(join(base, 'cairn-cache-99999999-abc'));
  const cache = await openFileCache({ maxBytes: 25, base });
  const made: string[] = [];
  const get = (key: string, use: (path: string) => Promise<string> = (path) => readFile(path, 'utf8')) =>
    cache.using(
      key,
      async (path) => {
        made.push(key);
        await writeFile(path, key.repeat(10));
      },
      use,
    );

  expect(await Promise.all([get('a'), get('a'), get('b')])).toEqual(['a'.repeat(10), 'a'.repeat(10), 'b'.repeat(10)]);
  await get('a');
  await get('c');
  await get('a');
  // The first two were made at the same time.
  expect(made.splice(0).toSorted()).toEqual(['a', 'b', 'c']);
  await get('b', async (path) => {
    await get('d');
    await get('e');
    return readFile(path, 'utf8');
  });
  expect(made).toEqual(['b', 'd', 'e']);

  const broken = cache.using(
    'f',
    () => Promise.reject(new Error('no connection')),
    async () => undefined,
  );
  await expect(broken).rejects.toThrow('no connection');
  expect(await get('f')).toBe('f'.repeat(10));
  const [folder = '', ...others] = await readdir(base);
  expect(others).toEqual([]);
  expect((await readdir(join(base, folder))).length).toBeLessThanOrEqual(2);
  await cache.close();
  expect(await readdir(base)).toEqual([]);
});

import { open, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { CairnError } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import { makeRunFolder, removeRunFolder, waitFor } from '@cairn/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ObjectStore } from './object-store.ts';
import { openStore } from './open-store.ts';
import { storageError } from './storage-error.ts';

let root: string;
let store: ObjectStore;
beforeEach(async () => {
  root = await makeRunFolder();
  store = openStore(pathToFileURL(root).href);
});
afterEach(() => removeRunFolder(root));

async function keys(prefix = '') {
  return (await Array.fromAsync(store.list(prefix))).map(({ key }) => key);
}
async function* endless() {
  for (;;) yield Buffer.alloc(1000);
}

test.each([
  ['bytes', () => Buffer.from('landmark')],
  ['text', () => 'landmark'],
  ['a stream', () => Readable.from([Buffer.from('land'), Buffer.from('mark')])],
  [
    'a file',
    async () => {
      await writeFile(join(root, 'local'), 'landmark');
      return { file: join(root, 'local') };
    },
  ],
])('%s can be stored and read back', async (_, source) => {
  const result = await store.put('staging/att_1/part', await source());
  expect(result).toEqual({ bytes: 8, sha256: sha256('landmark'), written: true });
  expect((await store.getBytes('staging/att_1/part')).toString()).toBe('landmark');
  expect(await store.head('staging/att_1/part')).toEqual({ bytes: 8, modifiedAt: expect.any(Date) });
});

test('a range gives its bytes only', async () => {
  await store.put('object', '0123456789');
  const range = async (start: number, end?: number) =>
    text(await store.get('object', { range: end === undefined ? { start } : { start, end } }));
  expect(await range(2, 5)).toBe('234');
  expect(await range(7)).toBe('789');
  expect(await range(3, 3)).toBe('');
  expect(await range(8, 100)).toBe('89');
});

test('a second put replaces the first, except when it is asked to leave it', async () => {
  await store.put('log', 'first');
  await store.put('log', 'second');
  expect(await store.put('log', 'third', { ifAbsent: true })).toEqual({ bytes: 5, sha256: sha256('third'), written: false });
  expect((await store.getBytes('log')).toString()).toBe('second');
  expect(await store.put('other', 'x', { ifAbsent: true })).toMatchObject({ written: true });
  expect(await readdir(join(root, '.unfinished'))).toEqual([]);
});

test('of many that put one absent object at once exactly one writes it', async () => {
  const results = await Promise.all(Array.from({ length: 20 }, (_, index) => store.put('claim', `writer ${index}`, { ifAbsent: true })));
  const winner = results.findIndex(({ written }) => written);
  expect(results.filter(({ written }) => written)).toHaveLength(1);
  expect((await store.getBytes('claim')).toString()).toBe(`writer ${winner}`);
});

test('a missing object is not_found, a folder of objects too', async () => {
  await store.put('a/b', 'x');
  for (const key of ['absent', 'a', 'a/b/c']) {
    const missing = { code: 'not_found', message: expect.stringContaining(`There is no object ${key} in ${root}`) };
    await expect(store.get(key)).rejects.toMatchObject(missing);
    await expect(store.copy(key, 'copy')).rejects.toMatchObject(missing);
    expect(await store.head(key)).toBeNull();
    await store.remove(key);
  }
  expect(await keys()).toEqual(['a/b']);
});

test.each(['../outside', '/etc/passwd', 'a/../../outside', '.unfinished/x'])('the key %s is refused everywhere', async (key) => {
  const refused = { code: 'invalid_path' };
  const calls = [
    async () => store.put(key, 'x'),
    async () => store.get(key),
    async () => store.head(key),
    async () => store.copy('a', key),
    async () => store.remove(key),
    async () => store.removePrefix(key),
    async () => Array.fromAsync(store.list(key)),
  ];
  for (const call of calls) await expect(call()).rejects.toMatchObject(refused);
});

test('a symbolic link in the store leads nowhere', async () => {
  await store.put('a/b', 'x');
  await symlink('/etc/passwd', join(root, 'a', 'link'));
  await expect(store.get('a/link')).rejects.toMatchObject({ code: 'invalid_path' });
  await expect(store.copy('a/link', 'copy')).rejects.toMatchObject({ code: 'not_found' });
  expect(await store.head('a/link')).toBeNull();
  expect(await keys()).toEqual(['a/b']);
});

test('a listing has the keys of its folder alone, in the order of S3', async () => {
  for (const key of ['a/b', 'a/b-c', 'a/b.c', 'a/b0', 'a/d/e', 'a/d-f', 'ab', 'z']) await store.put(key, key);
  expect(await keys()).toEqual(['a/b', 'a/b-c', 'a/b.c', 'a/b0', 'a/d-f', 'a/d/e', 'ab', 'z']);
  expect(await keys('a/d')).toEqual(['a/d/e']);
  expect(await keys('absent')).toEqual([]);
  expect(await Array.fromAsync(store.list('z'))).toEqual([]);
  expect((await Array.fromAsync(store.list('a/d')))[0]).toEqual({ key: 'a/d/e', bytes: 5, modifiedAt: expect.any(Date) });
});

test('a folder of objects goes at once, and its name can be used again', async () => {
  await store.put('staging/att_1/a', 'x');
  await store.put('staging/att_1/b/c', 'x');
  await store.put('staging/att_10/a', 'x');
  await store.removePrefix('staging/att_1');
  await store.removePrefix('staging/att_1');
  expect(await keys()).toEqual(['staging/att_10/a']);
  await store.put('staging/att_1/a', 'y');
  expect(await keys('staging/att_1')).toEqual(['staging/att_1/a']);
  await expect(store.removePrefix('')).rejects.toMatchObject({ code: 'invalid_path' });
});

test('whoever still writes to the source of a copy cannot change the copy', async () => {
  await store.put('staging/part', 'genuine');
  const zombie = await open(join(root, 'staging', 'part'), 'r+');
  await store.copy('staging/part', 'models/part');
  await zombie.write('tampered', 0);
  await zombie.close();
  expect((await store.getBytes('models/part')).toString()).toBe('genuine');
});

test('an interrupted put leaves nothing to be seen, and keeps what was there', async () => {
  await store.put('object', 'old');
  const controller = new AbortController();
  const putting = store.put('object', Readable.from(endless()), { signal: controller.signal });
  await waitFor(async () => (await readdir(join(root, '.unfinished'))).length === 1, { message: 'the put to begin' });
  expect(await keys()).toEqual(['object']);
  const reason = new Error('superseded');
  controller.abort(reason);
  await expect(putting).rejects.toBe(reason);
  expect(await readdir(join(root, '.unfinished'))).toEqual([]);
  expect((await store.getBytes('object')).toString()).toBe('old');
});

test('a source that fails is passed on as it is, and nothing is stored', async () => {
  const failure = new Error('the network is gone');
  async function* broken() {
    yield Buffer.from('half');
    throw failure;
  }
  await expect(store.put('object', Readable.from(broken()))).rejects.toBe(failure);
  await expect(store.put('object', { file: join(root, 'nowhere') })).rejects.toMatchObject({ code: 'not_found' });
  expect(await keys()).toEqual([]);
});

test('the sweep removes what was left long ago, not what is being written', async () => {
  await store.put('object', 'x');
  const [old, young] = [join(root, '.unfinished', '.old'), join(root, '.unfinished', '.young')];
  await writeFile(old, 'half');
  await writeFile(young, 'half');
  const hourAgo = Date.now() / 1000 - 3600;
  await utimes(old, hourAgo, hourAgo);
  expect(await store.sweepTemporary(60_000)).toBe(1);
  expect(await readdir(join(root, '.unfinished'))).toEqual(['.young']);
  expect(await keys()).toEqual(['object']);
});

test('a download is whole and has the digest asked for, or is not there', async () => {
  await store.put('weights', 'weights');
  const file = join(root, 'local', 'deep', 'weights.pt');
  await expect(store.download('weights', file, { sha256: sha256('others') })).rejects.toMatchObject({
    code: 'corrupt_artifact',
    message: `The object weights in ${root} has the sha256 ${sha256('weights')}, expected ${sha256('others')}.`,
  });
  expect(await readdir(join(root, 'local', 'deep'))).toEqual([]);
  expect(await store.download('weights', file, { sha256: sha256('weights') })).toEqual({ bytes: 7, sha256: sha256('weights') });
  expect(await readFile(file, 'utf8')).toBe('weights');
});

test('a full disk is storage_full, with the place and the bytes', async () => {
  const full = await writeFile('/dev/full', 'x').catch((error: unknown) => error);
  const error = await storageError(full, { act: 'Writing', key: 'models/a', path: root, bytes: 42 });
  expect(error).toBeInstanceOf(CairnError);
  expect(error).toMatchObject({ code: 'storage_full', cause: { code: 'ENOSPC' } });
  expect(String(error)).toMatch(new RegExp(`No space is left in ${root} for models/a: 42 bytes were written, \\d+ bytes are free`));
});

test('another failure of the disk is storage_failed, with its cause', async () => {
  await writeFile(join(root, 'file'), 'in the way');
  const blocked = openStore(pathToFileURL(join(root, 'file')).href);
  await expect(blocked.put('a/b', 'x')).rejects.toMatchObject({
    code: 'storage_failed',
    message: expect.stringContaining(`Writing a/b in ${join(root, 'file')} failed`),
    cause: { code: expect.stringMatching(/ENOTDIR|EEXIST/) },
  });
});

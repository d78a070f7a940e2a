import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { sha256 } from '@cairn/runtime';
import { makeRunFolder, removeRunFolder, waitFor } from '@cairn/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ObjectStore } from '../object-store.ts';

/** An empty store for one test. */
export type OpenedStore = {
  store: ObjectStore;
  /** As named in messages. */
  place: string;
  /** What unfinished writes have left or are writing. */
  unfinished(): Promise<string[]>;
  close(): Promise<void>;
};

async function* endless() {
  for (;;) yield Buffer.alloc(100_000);
}

/** The tests that every object store passes. */
export function storeContract(open: () => Promise<OpenedStore>): void {
  let opened: OpenedStore;
  let store: ObjectStore;
  let folder: string;
  beforeEach(async () => {
    folder = await makeRunFolder();
    opened = await open();
    store = opened.store;
  });
  afterEach(async () => {
    await opened.close();
    await removeRunFolder(folder);
  });

  async function keys(prefix = '') {
    return (await Array.fromAsync(store.list(prefix))).map(({ key }) => key);
  }

  test.each([
    ['bytes', () => Buffer.from('landmark')],
    ['text', () => 'landmark'],
    ['a stream', () => Readable.from([Buffer.from('land'), Buffer.from('mark')])],
    [
      'a file',
      async () => {
        await writeFile(join(folder, 'local'), 'landmark');
        return { file: join(folder, 'local') };
      },
    ],
  ])('%s can be stored and read back', async (_, source) => {
    const result = await store.put('staging/att_1/part', await source());
    expect(result).toEqual({ bytes: 8, sha256: sha256('landmark'), written: true });
    expect((await store.getBytes('staging/att_1/part')).toString()).toBe('landmark');
    expect(await store.head('staging/att_1/part')).toEqual({ bytes: 8, modifiedAt: expect.any(Date) });
  });

  test('an empty object is an object', async () => {
    expect(await store.put('empty', '')).toEqual({ bytes: 0, sha256: sha256(''), written: true });
    expect(await store.getBytes('empty')).toEqual(Buffer.alloc(0));
    expect(await text(await store.get('empty', { range: { start: 0 } }))).toBe('');
    await store.copy('empty', 'copy');
    expect(await store.head('copy')).toMatchObject({ bytes: 0 });
  });

  test.each(['a b/c d.npy', 'a+b/c+d', 'Größe/模型/é.npy', "quote'(1)!*~&=%20/100%", '%2e%2e/x#y?z'])(
    'the key %s means the same object everywhere',
    async (key) => {
      await store.put(key, 'x');
      await store.put('other', 'y');
      expect((await store.getBytes(key)).toString()).toBe('x');
      expect(await store.head(key)).toMatchObject({ bytes: 1 });
      expect(await keys()).toContain(key);
      const folderOfKey = key.slice(0, key.lastIndexOf('/'));
      if (folderOfKey !== '') expect(await keys(folderOfKey)).toEqual([key]);
      await store.copy(key, `copy/${key}`);
      expect((await store.getBytes(`copy/${key}`)).toString()).toBe('x');
      await store.remove(key);
      await store.removePrefix('copy');
      expect(await keys()).toEqual(['other']);
    },
  );

  test('a range returns only its bytes', async () => {
    await store.put('object', '0123456789');
    const range = async (start: number, end?: number) =>
      text(await store.get('object', { range: end === undefined ? { start } : { start, end } }));
    expect(await range(2, 5)).toBe('234');
    expect(await range(7)).toBe('789');
    expect(await range(3, 3)).toBe('');
    expect(await range(8, 100)).toBe('89');
    expect(await range(10)).toBe('');
  });

  test('a second put replaces the first, except with ifAbsent', async () => {
    await store.put('log', 'first');
    await store.put('log', 'second');
    expect(await store.put('log', 'third', { ifAbsent: true })).toEqual({ bytes: 5, sha256: sha256('third'), written: false });
    expect((await store.getBytes('log')).toString()).toBe('second');
    expect(await store.put('other', 'x', { ifAbsent: true })).toMatchObject({ written: true });
    expect(await opened.unfinished()).toEqual([]);
  });

  test('a missing object is not_found, and so is a folder of objects', async () => {
    await store.put('a/b', 'x');
    for (const key of ['absent', 'a', 'a/b/c']) {
      const missing = { code: 'not_found', message: expect.stringContaining(`There is no object ${key} in ${opened.place}`) };
      await expect(store.get(key), key).rejects.toMatchObject(missing);
      await expect(store.copy(key, 'copy'), key).rejects.toMatchObject(missing);
      expect(await store.head(key), key).toBeNull();
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
      async () => store.copy(key, 'a'),
      async () => store.remove(key),
      async () => store.removePrefix(key),
      async () => Array.fromAsync(store.list(key)),
    ];
    for (const call of calls) await expect(call()).rejects.toMatchObject(refused);
  });

  test('a listing has only the keys of its folder, in byte order', async () => {
    for (const key of ['a/b', 'a/b-c', 'a/b.c', 'a/b0', 'a/d/e', 'a/d-f', 'ab', 'z']) await store.put(key, key);
    expect(await keys()).toEqual(['a/b', 'a/b-c', 'a/b.c', 'a/b0', 'a/d-f', 'a/d/e', 'ab', 'z']);
    expect(await keys('a/d')).toEqual(['a/d/e']);
    expect(await keys('absent')).toEqual([]);
    expect(await Array.fromAsync(store.list('z'))).toEqual([]);
    expect((await Array.fromAsync(store.list('a/d')))[0]).toEqual({ key: 'a/d/e', bytes: 5, modifiedAt: expect.any(Date) });
  });

  test('a folder of objects is removed at once, and its name can be reused', async () => {
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

  test('an interrupted put leaves nothing visible, and keeps the existing object', async () => {
    await store.put('object', 'old');
    const controller = new AbortController();
    const putting = store.put('object', Readable.from(endless()), { signal: controller.signal });
    await waitFor(async () => (await opened.unfinished()).length === 1, { message: 'the put to begin' });
    expect(await keys()).toEqual(['object']);
    const reason = new Error('superseded');
    controller.abort(reason);
    await expect(putting).rejects.toBe(reason);
    expect(await opened.unfinished()).toEqual([]);
    expect((await store.getBytes('object')).toString()).toBe('old');
  });

  test('a put that is aborted at any moment, even before it reads its stream, fails with the reason alone', async () => {
    const reason = new Error('superseded');
    for (let turns = 0; turns < 12; turns += 1) {
      const controller = new AbortController();
      const putting = store.put('object', new Readable({ read: () => undefined }), { signal: controller.signal });
      putting.catch(() => undefined);
      for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
      controller.abort(reason);
      await expect(putting).rejects.toBe(reason);
    }
  });

  test('a signal that is already aborted stops every call', async () => {
    await store.put('object', 'x');
    const reason = new Error('superseded');
    const signal = AbortSignal.abort(reason);
    const calls = [
      async () => store.put('other', 'x', { signal }),
      async () => store.getBytes('object', { signal }),
      async () => store.download('object', join(folder, 'object'), { signal }),
      async () => store.head('object', signal),
      async () => store.copy('object', 'other', signal),
      async () => store.remove('object', signal),
      async () => store.removePrefix('object', signal),
      async () => Array.fromAsync(store.list('', signal)),
    ];
    for (const call of calls) await expect(call()).rejects.toBe(reason);
    expect(await keys()).toEqual(['object']);
    expect(await readdir(folder)).toEqual([]);
  });

  test('the error of a failing source is passed on unchanged, and nothing is stored', async () => {
    const failure = new Error('the network is gone');
    async function* broken() {
      yield Buffer.from('half');
      throw failure;
    }
    await expect(store.put('object', Readable.from(broken()))).rejects.toBe(failure);
    await expect(store.put('object', { file: join(folder, 'nowhere') })).rejects.toMatchObject({ code: 'not_found' });
    expect(await keys()).toEqual([]);
    expect(await opened.unfinished()).toEqual([]);
  });

  test('a download is complete with the expected digest, or does not appear', async () => {
    await store.put('weights', 'weights');
    const file = join(folder, 'deep', 'er', 'weights.pt');
    await expect(store.download('weights', file, { sha256: sha256('others') })).rejects.toMatchObject({
      code: 'corrupt_artifact',
      message: `The object weights in ${opened.place} has the sha256 ${sha256('weights')}, expected ${sha256('others')}.`,
    });
    expect(await readdir(join(folder, 'deep', 'er'))).toEqual([]);
    expect(await store.download('weights', file, { sha256: sha256('weights') })).toEqual({ bytes: 7, sha256: sha256('weights') });
    expect(await readFile(file, 'utf8')).toBe('weights');
  });
}

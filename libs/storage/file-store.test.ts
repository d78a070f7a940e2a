import { open, readdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CairnError } from '@cairn/contract';
import { makeRunFolder, removeRunFolder } from '@cairn/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ObjectStore } from './object-store.ts';
import { openStore } from './open-store.ts';
import { artifactContract } from './testing/artifact-contract.ts';
import { storeContract } from './testing/store-contract.ts';
import { storageError } from './whole-objects.ts';

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

describe('a folder, like every store,', () => {
  storeContract(async () => ({
    store,
    place: root,
    unfinished: () => readdir(join(root, '.unfinished')),
    close: async () => undefined,
  }));
});

describe('an artifact in a folder', () => artifactContract(() => store));

test('when many writers put the same absent object at once, exactly one writes it', async () => {
  const results = await Promise.all(Array.from({ length: 20 }, (_, index) => store.put('claim', `writer ${index}`, { ifAbsent: true })));
  const winner = results.findIndex(({ written }) => written);
  expect(results.filter(({ written }) => written)).toHaveLength(1);
  expect((await store.getBytes('claim')).toString()).toBe(`writer ${winner}`);
});

test('a symbolic link in the store is not followed', async () => {
  await store.put('a/b', 'x');
  await symlink('/etc/passwd', join(root, 'a', 'link'));
  await expect(store.get('a/link')).rejects.toMatchObject({ code: 'invalid_path' });
  await expect(store.copy('a/link', 'copy')).rejects.toMatchObject({ code: 'not_found' });
  expect(await store.head('a/link')).toBeNull();
  expect(await keys()).toEqual(['a/b']);
});

test('a later write to the source of a copy cannot change the copy', async () => {
  await store.put('staging/part', 'genuine');
  const zombie = await open(join(root, 'staging', 'part'), 'r+');
  await store.copy('staging/part', 'models/part');
  await zombie.write('tampered', 0);
  await zombie.close();
  expect((await store.getBytes('models/part')).toString()).toBe('genuine');
});

test('the sweep removes old leftovers, not writes in progress', async () => {
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

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, rename, rm, stat, symlink, truncate, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packTars } from '../tars/pack-tars.ts';
import { testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import { scanFile } from '../testing/scan-file.ts';
import { ImageUnavailable } from './image-reader.ts';
import { faultOfImage, openImageReader } from './open-image-reader.ts';

const one = 'train/a/b/c/abc.jpg';

describe('an image reader', () => {
  test('reads files of a folder', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { [one]: 'pixels' });
    const reader = await openImageReader(folder.path, null);
    expect((await reader.read({ path: one, tar: null })).toString()).toBe('pixels');
    await reader.close();
    await expect(reader.read({ path: one })).rejects.toThrow('closed');
  });

  test('reads pieces of more tars than it keeps open, many at a time', async () => {
    await using folder = await testFolder();
    const ids = Array.from({ length: 60 }, (_, i) => `img${i}`);
    const content = (id: string): Buffer => createHash('sha512').update(id).digest();
    const tars = (
      await packTars(
        folder.path,
        'train',
        ids.map((id) => ({ id, read: async () => content(id) })),
        9,
      )
    ).filter((path) => path.endsWith('.tar'));
    const reader = await openImageReader(folder.path, null);
    const reads: Promise<void>[] = [];
    for (const tar of tars) {
      for (const { imageId, offset, size } of (await scanFile(join(folder.path, tar))).members) {
        const read = reader.read({ path: `train/${imageId}.jpg`, tar, offset, size });
        reads.push(read.then((bytes) => expect(bytes).toEqual(content(imageId))));
      }
    }
    expect(reads).toHaveLength(60);
    await Promise.all(reads);
    await reader.close();
  });

  test.each([
    '../secret.jpg',
    '/etc/passwd',
    'train/../../secret.jpg',
    'train/./x.jpg',
    'train//x.jpg',
    'train\\..\\x.jpg',
    'train/x\0.jpg',
    '',
  ])('refuses the path %j, which would leave its root', async (path) => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { 'secret.jpg': 'secret', 'root/train/x.jpg': 'x' });
    const reader = await openImageReader(join(folder.path, 'root'), null);
    await expect(reader.read({ path })).rejects.toMatchObject({ code: 'invalid_path' });
    await expect(reader.read({ path: one, tar: path === '' ? '..' : path, offset: 0, size: 1 })).rejects.toMatchObject({
      code: 'invalid_path',
    });
    await reader.close();
  });

  test('gives a reason for a bad image', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { 'train/e/m/p/empty.jpg': '', 'train/d/i/r/dir.jpg/x': 'x' });
    await packTars(folder.path, 'train', [{ id: 'abc', read: async () => Buffer.alloc(5000, 1) }], 1);
    await truncate(join(folder.path, 'train/images_000.tar'), 2000);
    const reader = await openImageReader(folder.path, null);
    const reasonOf = async (image: Parameters<typeof reader.read>[0]): Promise<string> => {
      const error = await reader.read(image).catch((thrown: unknown) => thrown);
      return error instanceof ImageUnavailable ? error.reason : String(error);
    };
    expect(await reasonOf({ path: one })).toBe('missing');
    expect(await reasonOf({ path: 'beside-the-splits.jpg' })).toBe('missing');
    expect(await reasonOf({ path: 'train/e/m/p/empty.jpg/x.jpg' })).toBe('missing');
    expect(await reasonOf({ path: 'train/e/m/p/empty.jpg' })).toBe('empty');
    expect(await reasonOf({ path: 'train/d/i/r/dir.jpg' })).toBe('not_a_file');
    const tar = 'train/images_000.tar';
    expect(await reasonOf({ path: one, tar, offset: 512, size: 5000 })).toBe('truncated');
    expect(await reasonOf({ path: one, tar, offset: 512, size: 0 })).toBe('empty');
    expect(await reasonOf({ path: one, tar, offset: 512, size: 2 ** 40 })).toBe('too_large');
    expect(await reasonOf({ path: one, tar, offset: null, size: null })).toBe('missing');
    await reader.close();
  });

  test('a tar that is gone is not the fault of one image', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { [one]: 'pixels' });
    const reader = await openImageReader(folder.path, null);
    const error = await reader.read({ path: one, tar: 'train/images_000.tar', offset: 0, size: 1 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'storage_failed', message: expect.stringContaining('images_000.tar does not exist') });
    expect(error).not.toBeInstanceOf(ImageUnavailable);
    await expect(reader.read({ path: one }, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    await reader.close();
  });

  test('a file that is changed in its place, or appears where there was none, is not the one that was prepared', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { [one]: 'pixels' });
    const path = join(folder.path, one);
    const { size, mtimeMs } = await stat(path);
    const image = { path: one, fileBytes: size, fileChangedMs: Math.floor(mtimeMs) };
    const reader = await openImageReader(folder.path, null);
    expect((await reader.read(image)).toString()).toBe('pixels');
    await expect(reader.read({ path: one, fileBytes: null, fileChangedMs: null })).rejects.toMatchObject({ code: 'dataset_changed' });
    await utimes(path, 1, 1);
    await expect(reader.read(image)).rejects.toMatchObject({ code: 'dataset_changed', message: expect.stringContaining('1970') });
    await rm(path);
    await expect(reader.read(image)).rejects.toMatchObject({ reason: 'missing' });
    await reader.close();
  });

  test('a link that leads out of the allowed folders is not read, and no pipe is waited for', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { 'secret.jpg': 'secret', 'root/train/x.jpg': 'x' });
    await symlink('../../secret.jpg', join(folder.path, 'root/train/y.jpg'));
    execFileSync('mkfifo', [join(folder.path, 'root/train/z.jpg')]);
    const root = join(folder.path, 'root');
    const reader = await openImageReader(root, [root]);
    await expect(reader.read({ path: 'train/y.jpg' })).rejects.toMatchObject({ code: 'folder_not_allowed' });
    await expect(reader.read({ path: 'train/z.jpg' })).rejects.toMatchObject({ reason: 'not_a_file' });
    await reader.close();
  });

  test.each<[string, (root: string) => Promise<unknown>]>([
    ['is gone', (root) => rename(root, `${root}-away`)],
    ['is empty, as where a mount was lost', (root) => rename(root, `${root}-away`).then(() => mkdir(root))],
    ['is another than before', (root) => rename(root, `${root}-away`).then(() => writeFiles(root, { 'train/x.jpg': 'x' }))],
    ['has lost a split', (root) => rename(join(root, 'train'), join(root, 'train-away'))],
  ])('a root that %s is the fault of the machine, not of its images', async (_, lose) => {
    await using folder = await testFolder();
    const root = join(folder.path, 'root');
    await writeFiles(root, { [one]: 'pixels', 'index/a/b/c/abc.jpg': 'pixels' });
    const reader = await openImageReader(root, null);
    expect((await reader.read({ path: one })).toString()).toBe('pixels');
    await lose(root);
    await expect(reader.read({ path: one })).rejects.toMatchObject({ code: 'storage_failed' });
    await reader.close();
  });

  test('a missing root at the start is a machine fault', async () => {
    await using folder = await testFolder();
    await expect(openImageReader(join(folder.path, 'root'), null)).rejects.toMatchObject({ code: 'storage_failed' });
  });
});

test.each([
  ['ENOENT', 'missing'],
  ['ENOTDIR', 'missing'],
  ['EACCES', 'no_permission'],
  ['ELOOP', 'not_a_file'],
  ['EIO', null],
  ['ESTALE', null],
  ['ENOTCONN', null],
  ['EMFILE', null],
  ['ENFILE', null],
  ['ENOMEM', null],
  ['EHOSTDOWN', null],
])('%s is the fault of the image: %s', (code, reason) => {
  expect(faultOfImage(Object.assign(new Error(code), { code }))).toBe(reason);
});

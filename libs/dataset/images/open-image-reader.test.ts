import { createHash } from 'node:crypto';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packTars } from '../mini/pack-tars.ts';
import { scanTar } from '../tars/scan-tar.ts';
import { testFolder, writeFiles } from '../testing/hand-made-collection.ts';
import { ImageUnavailable, openImageReader } from './open-image-reader.ts';

const one = 'train/a/b/c/abc.jpg';

describe('an image reader', () => {
  test('reads files of a folder', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { [one]: 'pixels' });
    const reader = openImageReader(folder.path);
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
    const reader = openImageReader(folder.path);
    const reads: Promise<void>[] = [];
    for (const tar of tars) {
      for (const { imageId, offset, size } of (await scanTar(join(folder.path, tar))).members) {
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
    const reader = openImageReader(join(folder.path, 'root'));
    await expect(reader.read({ path })).rejects.toMatchObject({ code: 'invalid_path' });
    await expect(reader.read({ path: one, tar: path === '' ? '..' : path, offset: 0, size: 1 })).rejects.toMatchObject({
      code: 'invalid_path',
    });
    await reader.close();
  });

  test('tells by a reason what is wrong with one image', async () => {
    await using folder = await testFolder();
    await writeFiles(folder.path, { 'train/e/m/p/empty.jpg': '', 'train/d/i/r/dir.jpg/x': 'x' });
    await packTars(folder.path, 'train', [{ id: 'abc', read: async () => Buffer.alloc(5000, 1) }], 1);
    await truncate(join(folder.path, 'train/images_000.tar'), 2000);
    const reader = openImageReader(folder.path);
    const reasonOf = async (image: Parameters<typeof reader.read>[0]): Promise<string> => {
      const error = await reader.read(image).catch((thrown: unknown) => thrown);
      return error instanceof ImageUnavailable ? error.reason : String(error);
    };
    expect(await reasonOf({ path: one })).toBe('missing');
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
    const reader = openImageReader(folder.path);
    const error = await reader.read({ path: one, tar: 'train/images_000.tar', offset: 0, size: 1 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'missing_file', message: expect.stringContaining('images_000.tar is not there') });
    expect(error).not.toBeInstanceOf(ImageUnavailable);
    await expect(reader.read({ path: one }, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    await reader.close();
  });
});

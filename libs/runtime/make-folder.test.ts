import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeFolder } from './make-folder.ts';

test('folders are made with those above them, and stay', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-folder-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  for (const _ of ['made', 'there']) await makeFolder(join(folder, 'a', 'b'));
  expect((await stat(join(folder, 'a', 'b'))).isDirectory()).toBe(true);
  await writeFile(join(folder, 'file'), '');
  await expect(makeFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
  await expect(makeFolder(join(folder, 'file', 'c'))).rejects.toMatchObject({ code: 'ENOTDIR' });
});

test('where none can be made the error comes, and names the folder', async () => {
  await expect(makeFolder('/proc/cairn/a')).rejects.toMatchObject({ code: 'ENOENT', path: '/proc/cairn' });
});

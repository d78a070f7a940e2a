import { execFileSync } from 'node:child_process';
import { mkdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { folderDigest } from './digests.ts';
import { createFileGate, fdPath } from './file-gate.ts';
import { testFolder, writeFiles } from './testing/hand-made-collection.ts';

/** An allowed folder, one next to it with a secret, and a gate to the first. */
async function places(path: string) {
  await writeFiles(path, { 'allowed/file.csv': 'id\n', 'allowed-not/secret': 'the password', 'elsewhere/file.csv': 'id\n' });
  return { inside: join(path, 'allowed'), gate: await createFileGate([join(path, 'allowed')]) };
}

test('a file below an allowed folder is opened, also through links that stay below one', async () => {
  await using folder = await testFolder();
  const { inside, gate } = await places(folder.path);
  await symlink('file.csv', join(inside, 'link.csv'));
  for (const name of ['file.csv', 'link.csv']) {
    const file = await gate.open(join(inside, name));
    expect(await readFile(fdPath(file), 'utf8')).toBe('id\n');
    await file.close();
  }
});

test.each([
  ['a link to a file in a sibling folder', '../allowed-not/secret'],
  ['a link to what this process was started with', '/proc/self/environ'],
  ['a link to a file of the system', '/etc/passwd'],
])('%s is refused, without a word of what it holds', async (_, target) => {
  await using folder = await testFolder();
  const { inside, gate } = await places(folder.path);
  await symlink(target, join(inside, 'train.csv'));
  const error = await gate.open(join(inside, 'train.csv')).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'folder_not_allowed', details: { path: join(inside, 'train.csv') } });
  expect(JSON.stringify(error)).not.toContain('password');
});

test('a folder that is linked out is refused, also by its listing; one that leads back to itself ends', async () => {
  await using folder = await testFolder();
  const { inside, gate } = await places(folder.path);
  await symlink('../elsewhere', join(inside, 'a'));
  await expect(gate.open(join(inside, 'a/file.csv'))).rejects.toMatchObject({ code: 'folder_not_allowed' });
  await expect(folderDigest(inside, { gate })).rejects.toMatchObject({ code: 'folder_not_allowed' });
  await mkdir(join(inside, 'tree/deep'), { recursive: true });
  await symlink('..', join(inside, 'tree/deep/up'));
  await expect(folderDigest(join(inside, 'tree'), { gate })).rejects.toMatchObject({ code: 'missing_file' });
});

test('a root may be named by a link', async () => {
  await using folder = await testFolder();
  await places(folder.path);
  const link = join(folder.path, 'link');
  await symlink('allowed', link);
  const gate = await createFileGate([link]);
  expect(await gate.realPath(join(link, 'file.csv'))).toBe(join(await realpath(folder.path), 'allowed/file.csv'));
  await expect(gate.realPath(join(link, 'nothing'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('errors do not reveal whether a file elsewhere exists', async () => {
  await using folder = await testFolder();
  const { gate } = await places(folder.path);
  for (const path of ['/etc', '/etc/passwd', '/no/such/folder', join(folder.path, 'allowed/../nothing')])
    await expect(gate.realPath(path)).rejects.toMatchObject({ code: 'folder_not_allowed' });
  await expect(gate.realPath(join(folder.path, 'allowed/nothing'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test.each([
  ['that is there', 'elsewhere/file.csv', 'train.csv'],
  ['that is not', 'elsewhere/nothing', 'train.csv'],
  ['below a folder that is there', 'elsewhere', 'train.csv/file.csv'],
  ['below a folder that is not', 'nothing', 'train.csv/file.csv'],
])('a link to a file elsewhere %s is refused in the same words, also by the question whether there is a file', async (_, target, name) => {
  await using folder = await testFolder();
  const { inside, gate } = await places(folder.path);
  await symlink('second', join(inside, 'train.csv'));
  await symlink(join('..', target), join(inside, 'second'));
  const path = join(inside, name);
  const refusal = { code: 'folder_not_allowed', message: expect.stringMatching(`^${path} is, or leads, outside`), details: { path } };
  for (const ask of [gate.open, gate.realPath, gate.isFile]) await expect(ask(path)).rejects.toMatchObject(refusal);
});

test('broken links within an allowed folder, and links in a circle, are files that do not exist', async () => {
  await using folder = await testFolder();
  const { inside, gate } = await places(folder.path);
  await symlink('nothing', join(inside, 'broken'));
  await symlink('circle', join(inside, 'circle'));
  for (const name of ['broken', 'circle', 'file.csv/below']) expect(await gate.isFile(join(inside, name)), name).toBe(false);
  expect(await gate.isFile(join(inside, 'file.csv'))).toBe(true);
  await expect(gate.open(join(inside, 'broken'))).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(gate.open(join(inside, 'circle'))).rejects.toMatchObject({ code: 'ELOOP' });
});

test('a root that is mounted after the gate was made is allowed, and until then its files do not exist', async () => {
  await using folder = await testFolder();
  const root = join(folder.path, 'mount');
  const gate = await createFileGate([root]);
  await expect(gate.open(join(root, 'file.csv'))).rejects.toMatchObject({ code: 'ENOENT' });
  await writeFiles(folder.path, { 'mount/file.csv': 'id\n' });
  await using file = await gate.open(join(root, 'file.csv'));
  expect(await readFile(fdPath(file), 'utf8')).toBe('id\n');
});

test('no folder is allowed where none is named', async () => {
  await using folder = await testFolder();
  const { inside } = await places(folder.path);
  await expect((await createFileGate([])).open(join(inside, 'file.csv'))).rejects.toMatchObject({ code: 'folder_not_allowed' });
});

test('pipes, devices, folders and kernel files are not regular files, for any caller', async () => {
  await using folder = await testFolder();
  execFileSync('mkfifo', [join(folder.path, 'pipe')]);
  await writeFile(join(folder.path, 'file'), 'x');
  const gate = await createFileGate(null);
  for (const path of [
    join(folder.path, 'pipe'),
    '/dev/zero',
    folder.path,
    '/proc/self/environ',
    '/sys/kernel/mm/transparent_hugepage/enabled',
  ])
    await expect(gate.open(path), path).rejects.toMatchObject({ code: 'missing_file' });
  expect(await gate.realPath(join(folder.path, 'file'))).toBe(join(await realpath(folder.path), 'file'));
});

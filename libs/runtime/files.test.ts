import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makeFolder, pathBelow, tailOf } from './files.ts';

test('a path of names is below the folder', () => {
  expect(pathBelow('/out', '384', 'events.1')).toBe('/out/384/events.1');
  expect(pathBelow('/', 'a')).toBe('/a');
  expect(pathBelow('out', '..a')).toBe('out/..a');
});

test.each([['..'], ['a', '..'], ['../x'], ['/etc/passwd'], ['a/b'], ['a\\b'], [''], ['.'], ['a\0b'], ['..', 'out', 'x']])(
  '%j is refused',
  (...names) => {
    expect(() => pathBelow('/out', ...names)).toThrow(expect.objectContaining({ code: 'invalid_path' }));
  },
);

test('folders are created with their parents, and existing ones stay', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-folder-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  for (const _ of ['made', 'there']) await makeFolder(join(folder, 'a', 'b'));
  expect((await stat(join(folder, 'a', 'b'))).isDirectory()).toBe(true);
  await writeFile(join(folder, 'file'), '');
  await expect(makeFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
  await expect(makeFolder(join(folder, 'file', 'c'))).rejects.toMatchObject({ code: 'ENOTDIR' });
});

test('the error names the folder that cannot be created', async () => {
  await expect(makeFolder('/proc/cairn/a')).rejects.toMatchObject({ code: 'ENOENT', path: '/proc/cairn' });
});

function fileWith(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-tail-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'log'), text);
  return join(folder, 'log');
}

test('a short file is returned whole', async () => {
  expect(await tailOf(fileWith('äb'), 100)).toBe('äb');
});

test('a long file is cut at a whole character', async () => {
  expect(await tailOf(fileWith('xäöü'), 5)).toBe('öü');
});

test('a missing file is an empty text', async () => {
  expect(await tailOf('/no/such/file', 10)).toBe('');
});

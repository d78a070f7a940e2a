import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { sha256, sha256File, sha256Json } from './sha256.ts';

const folder = await mkdtemp(join(tmpdir(), 'cairn-sha256-'));
afterAll(() => rm(folder, { recursive: true }));

/** FIPS 180-2, appendix B.1. */
const digestOfAbc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

test('text and bytes have the digest of the standard', () => {
  expect(sha256('abc')).toBe(digestOfAbc);
  expect(sha256(Buffer.from('abc'))).toBe(digestOfAbc);
});

test('values that differ in the order of keys have one digest', () => {
  expect(sha256Json({ a: 1, b: 2 })).toBe(sha256Json({ b: 2, a: 1 }));
});

test('a file has the digest of its bytes', async () => {
  const bytes = Buffer.alloc(3_000_000, 'landmark');
  const path = join(folder, 'file');
  await writeFile(path, bytes);
  expect(await sha256File(path)).toBe(sha256(bytes));
});

test("a missing file is the file system's error", async () => {
  await expect(sha256File(join(folder, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('an aborted digest ends', async () => {
  const path = join(folder, 'other');
  await writeFile(path, 'x');
  await expect(sha256File(path, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
});

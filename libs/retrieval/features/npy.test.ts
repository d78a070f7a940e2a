import { execFileSync } from 'node:child_process';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../fixtures/test-files.ts';
import { createNpy, readNpyHeader, readNpyRows } from './npy.ts';

async function written(...batches: number[][]): Promise<string> {
  const path = join(await temporaryFolder(), 'a.npy');
  const npy = await createNpy(path, 2);
  for (const batch of batches) await npy.append(Float16Array.from(batch));
  await npy.finish();
  return path;
}

test('the file is a matrix of float16 in numpy format 1.0', async () => {
  const bytes = await readFile(await written([1, -2], [0.5, 65504, 2 ** -24, 0]));
  // numpy.save of numpy.array([[1, -2], [.5, 65504], [2**-24, 0]], '<f2') has the same header, but for its padding to 64.
  const header = "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 2), }".padEnd(117, ' ');
  expect(bytes.subarray(0, 128).toString('latin1')).toBe(`\x93NUMPY\x01\x00\x76\x00${header}\n`);
  expect(bytes.subarray(128).toString('hex')).toBe('003c00c00038ff7b01000000');
});

test('a matrix without rows is whole', async () => {
  const path = await written();
  expect(await readNpyHeader(path)).toEqual({ type: 'float16', rows: 0, dim: 2, dataOffset: 128 });
});

test('every float16 is read as its float32', async () => {
  const path = join(await temporaryFolder(), 'all.npy');
  const all = new Float16Array(Uint16Array.from({ length: 0x10000 }, (_, bits) => bits).buffer);
  const npy = await createNpy(path, 256);
  await npy.append(all);
  await npy.finish();
  const rows = new Float32Array(0x10000);
  await readNpyRows(path, await readNpyHeader(path), 0, rows);
  // Compared as bytes: not a number is not equal to itself.
  expect(Buffer.from(rows.buffer).equals(Buffer.from(new Float32Array(all).buffer))).toBe(true);
});

test('rows are read from where they are asked', async () => {
  const path = await written([1, 2, 3, 4], [5, 6]);
  const rows = new Float32Array(4);
  await readNpyRows(path, await readNpyHeader(path), 1, rows);
  expect([...rows]).toEqual([3, 4, 5, 6]);
});

test('float32 of another writer, with a header of its own length, is read too', async () => {
  const path = join(await temporaryFolder(), 'other.npy');
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }".padEnd(69, ' ');
  const values = Buffer.from(Float32Array.of(0.1, 2).buffer);
  await writeFile(path, Buffer.concat([Buffer.from(`\x93NUMPY\x01\x00\x46\x00${header}\n`, 'latin1'), values]));
  const found = await readNpyHeader(path);
  expect(found).toEqual({ type: 'float32', rows: 2, dim: 1, dataOffset: 80 });
  const rows = new Float32Array(2);
  await readNpyRows(path, found, 0, rows);
  expect(rows).toEqual(Float32Array.of(0.1, 2));
});

test.each<[string, (path: string) => Promise<void>, string]>([
  ['cut', (path) => truncate(path, 130), 'has 130 bytes instead of the 136 of 2 x 2 values'],
  ['cut in its header', (path) => truncate(path, 100), 'has a header of 128 bytes, but only 100 bytes'],
  ['longer than it says', (path) => writeFile(path, 'xx', { flag: 'a' }), 'has 138 bytes instead of the 136'],
  ['a matrix without columns', async (path) => void (await (await createNpy(path, 0)).finish()), 'has vectors without values'],
  ['no .npy file', (path) => writeFile(path, 'something else altogether'), 'is not an .npy file'],
])('a file that is %s is corrupt', async (_, spoil, message) => {
  const path = await written([1, 2, 3, 4]);
  await spoil(path);
  await expect(readNpyHeader(path)).rejects.toMatchObject({
    code: 'corrupt_artifact',
    message: `${path} ${message}${message.endsWith('136') ? ' of 2 x 2 values' : ''}`,
  });
});

test('a pipe is refused, not waited for', async () => {
  const pipe = join(await temporaryFolder(), 'pipe.npy');
  execFileSync('mkfifo', [pipe]);
  await expect(readNpyHeader(pipe)).rejects.toMatchObject({ code: 'corrupt_artifact', message: `${pipe} is not a file` });
});

test('a missing file, and one that shrank after a look at its header, are corrupt', async () => {
  const path = await written([1, 2, 3, 4]);
  const header = await readNpyHeader(path);
  await truncate(path, 130);
  await expect(readNpyRows(path, header, 0, new Float32Array(4))).rejects.toThrow('ends before row 2');
  await expect(readNpyHeader(`${path}.missing`)).rejects.toMatchObject({ code: 'corrupt_artifact' });
});

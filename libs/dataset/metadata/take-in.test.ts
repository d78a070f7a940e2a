import { createHash } from 'node:crypto';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { createFileGate } from '../file-gate.ts';
import { testFolder } from '../testing/hand-made-collection.ts';
import { metadataLimits, type TakeInOptions, takeIn } from './take-in.ts';

const small = { ...metadataLimits, lineBytes: 1000, freeBytes: 10_000, ratio: 20 };

/** Takes a file of these bytes in; gives its digest and the copy's text. */
async function taken(bytes: string | Buffer, options: Partial<TakeInOptions> = {}) {
  await using folder = await testFolder();
  const [path, copy] = [join(folder.path, 'file.csv'), join(folder.path, 'copy')];
  await writeFile(path, bytes);
  const digest = await takeIn(path, copy, { gate: await createFileGate(null), kind: 'csv', limits: small, ...options });
  return { ...digest, text: await readFile(copy, 'utf8') };
}

const rows = Array.from({ length: 200_000 }, (_, n) => `${n},row`);

test('the digest is that of the bytes as they lie; the copy is unzipped and without CRLF', async () => {
  const zipped = gzipSync(`${rows.join('\r\n')}\r\n`);
  const { sha256, bytes, text } = await taken(zipped, { limits: metadataLimits });
  expect(sha256).toBe(createHash('sha256').update(zipped).digest('hex'));
  expect(bytes).toBe(zipped.length);
  expect(text).toBe(`${rows.join('\n')}\n`);
});

test('lines that end in CRLF, here and there, lose it wherever a piece of the file ends', async () => {
  for (const shift of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
    const lines = ['x'.repeat(shift), ...rows];
    const mixed = lines.map((line, n) => line + (n % 3 === 0 ? '\r\n' : '\n')).join('');
    expect((await taken(mixed)).text === `${lines.join('\n')}\n`).toBe(true);
  }
});

test.each([
  ['a carriage return inside', `id\nabc\nab\rc\n`, 3],
  ['a carriage return after lines with CRLF', `id\r\nabc\r\nab\rc\r\n`, 3],
  ['more bytes than a line may have', `id\n${'x'.repeat(1001)}\n`, 2],
  ['more bytes than a line may have, at the end', `id\nabc\n${'x'.repeat(3_000_000)}`, 3],
  ['more bytes than a line may have, zipped', gzipSync(`id\n${'x'.repeat(5000)}\n`), 2],
])('a line with %s is reported with its number', async (_, bytes, line) => {
  await expect(taken(bytes)).rejects.toMatchObject({ code: 'bad_row', details: { line } });
});

test('a file that is too large, or grows too much out of gzip, is refused before it fills the disk', async () => {
  await expect(taken(gzipSync('a,b\n'.repeat(1_000_000)))).rejects.toMatchObject({
    code: 'bad_row',
    message: expect.stringContaining('too large'),
  });
  await using folder = await testFolder();
  const path = join(folder.path, 'sparse.csv');
  await writeFile(path, 'id\n');
  await truncate(path, metadataLimits.bytes + 1);
  const gate = await createFileGate(null);
  await expect(takeIn(path, join(folder.path, 'copy'), { gate, kind: 'csv' })).rejects.toMatchObject({ code: 'bad_row' });
  await truncate(path, metadataLimits.lineBytes * 3);
  await expect(takeIn(path, join(folder.path, 'copy2'), { gate, kind: 'csv' })).rejects.toMatchObject({ details: { line: 2 } });
});

test('JSON, which is read as a whole, has a limit of its own', async () => {
  const limits = { ...small, jsonBytes: 100 };
  await expect(taken('x'.repeat(101), { kind: 'json', limits })).rejects.toMatchObject({ code: 'bad_row' });
  expect((await taken('x'.repeat(101), { kind: 'csv', limits })).bytes).toBe(101);
});

test('truncated or corrupt gzip is rejected with the line', async () => {
  const zipped = gzipSync(rows.join('\n'));
  await expect(taken(zipped.subarray(0, zipped.length / 2), { limits: metadataLimits })).rejects.toMatchObject({
    code: 'bad_row',
    message: expect.stringMatching(/corrupt gzip in line \d{4,}/),
  });
});

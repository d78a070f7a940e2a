import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { canonicalJson, makeFolder, pathBelow, sha256, sha256File, sha256Json, tailOf } from './files.ts';

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

test('equal values have equal text whatever the order of their keys', () => {
  expect(canonicalJson({ b: [1, { d: 2, c: 'x' }], a: null })).toBe('{"a":null,"b":[1,{"c":"x","d":2}]}');
  expect(canonicalJson({ a: null, b: [1, { c: 'x', d: 2 }] })).toBe(canonicalJson({ b: [1, { d: 2, c: 'x' }], a: null }));
});

test('keys without a value are left out', () => {
  expect(canonicalJson({ a: undefined, b: 1 })).toBe('{"b":1}');
});

test('keys are sorted by code units, not by a locale', () => {
  expect(canonicalJson({ a: 1, B: 2, é: 3, z: 4, '\u{1f600}': 5, '\ufb33': 6 })).toBe('{"B":2,"a":1,"z":4,"é":3,"\u{1f600}":5,"\ufb33":6}');
});

test('dates are written as JSON writes them', () => {
  expect(canonicalJson({ at: new Date(0) })).toBe('{"at":"1970-01-01T00:00:00.000Z"}');
});

test.each([
  [{ loss: [1, Number.NaN] }, '$.loss[1] is NaN'],
  [{ n: 1n }, '$.n is of type bigint'],
  [[undefined], '$[0] is of type undefined'],
])('values that JSON cannot represent are refused by path (%#)', (value, message) => {
  expect(() => canonicalJson(value)).toThrow(message);
});

test('the text is JSON that reads back to the same value', () => {
  const value = { text: 'line\n"quoted" \u2028', numbers: [0, -1.5, 1e21, 1e-7], nested: { empty: {}, none: [] } };
  expect(JSON.parse(canonicalJson(value))).toEqual(value);
});

const folder = await mkdtemp(join(tmpdir(), 'cairn-sha256-'));
afterAll(() => rm(folder, { recursive: true }));

/** FIPS 180-2, appendix B.1. */
const digestOfAbc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

test('text and bytes have the digest that the standard gives', () => {
  expect(sha256('abc')).toBe(digestOfAbc);
  expect(sha256(Buffer.from('abc'))).toBe(digestOfAbc);
});

test('values that differ only in the order of keys have the same digest', () => {
  expect(sha256Json({ a: 1, b: 2 })).toBe(sha256Json({ b: 2, a: 1 }));
});

test('a file has the digest of its bytes', async () => {
  const bytes = Buffer.alloc(3_000_000, 'landmark');
  const path = join(folder, 'file');
  await writeFile(path, bytes);
  expect(await sha256File(path)).toBe(sha256(bytes));
});

test("a missing file gives the file system's error", async () => {
  await expect(sha256File(join(folder, 'absent'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('an aborted digest stops', async () => {
  const path = join(folder, 'other');
  await writeFile(path, 'x');
  await expect(sha256File(path, AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
});

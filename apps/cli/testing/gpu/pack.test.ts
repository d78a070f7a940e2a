import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { isolatedPython } from '@cairn/runtime';
import { trainerPython } from '@cairn/testing';
import { expect, onTestFinished, test } from 'vitest';
import { packageClosure, writeParts } from './pack.ts';

test('a package is found where Node finds it, and what nobody wants stays out', () => {
  const locked = {
    'apps/worker': { dependencies: { '@cairn/storage': '*', a: '1' } },
    'libs/storage': { dependencies: { b: '2' } },
    'node_modules/@cairn/storage': { link: true, resolved: 'libs/storage' },
    'node_modules/a': { dependencies: { b: '1' }, optionalDependencies: { 'a-for-another-platform': '1' } },
    'node_modules/a/node_modules/b': { dependencies: { c: '1' } },
    'node_modules/b': {},
    'node_modules/c': {},
    'node_modules/d': {},
  };
  expect(packageClosure(locked, ['apps/worker'])).toEqual([
    'apps/worker',
    'libs/storage',
    'node_modules/@cairn/storage',
    'node_modules/a',
    'node_modules/a/node_modules/b',
    'node_modules/b',
    'node_modules/c',
  ]);
});

const run = promisify(execFile);

/** An archive of one file in parts of `partBytes`, beside the program that unpacks them. */
async function packed(partBytes: number) {
  const folder = await mkdtemp(join(tmpdir(), 'cairn-parts-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, 'source'));
  const content = Array.from({ length: 500 }, (_, index) => `${index * index}`).join(' ');
  await writeFile(join(folder, 'source/numbers.txt'), content);
  const { stdout } = await run('tar', ['-cJ', '-C', join(folder, 'source'), '.'], { encoding: 'buffer', maxBuffer: 1 << 24 });
  const parts = await writeParts(Readable.from([stdout.subarray(0, 100), stdout.subarray(100)]), folder, partBytes);
  await writeFile(join(folder, 'manifest.json'), JSON.stringify({ commit: 'c', parts }));
  await copyFile(join(import.meta.dirname, 'machine/unpack.py'), join(folder, 'unpack.py'));
  const unpack = () => run(trainerPython(), isolatedPython(join(folder, 'unpack.py'), [join(folder, 'target')]));
  return { folder, content, parts, bytes: stdout.length, unpack };
}

test('what was cut into parts is unpacked as it was, and no part is larger than it may be', async () => {
  const { folder, content, parts, bytes, unpack } = await packed(64);
  expect(parts).toHaveLength(Math.ceil(bytes / 64));
  expect(parts.slice(0, -1).every((part) => part.bytes === 64)).toBe(true);
  await unpack();
  expect(await readFile(join(folder, 'target/numbers.txt'), 'utf8')).toBe(content);
});

test('a part that is damaged or missing is named, and nothing is unpacked', async () => {
  const { folder, parts, unpack } = await packed(64);
  const [first, second] = parts.map(({ name }) => join(folder, name)) as [string, string];
  await writeFile(first, 'x'.repeat(64));
  await rm(second);
  const failure = await unpack().catch((error: { stderr: string }) => error.stderr);
  expect(failure).toContain(`${first} has 64 of 64 bytes, or others: bring it again`);
  expect(failure).toContain(`${second} is missing`);
  await expect(readFile(join(folder, 'target/numbers.txt'))).rejects.toThrow();
});

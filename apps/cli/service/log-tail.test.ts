import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { logTail } from './log-tail.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tail-'));
  path = join(folder, 'api.log');
});
afterEach(() => rm(folder, { recursive: true }));

test('the last lines are given, of one start alone where its beginning is known', async () => {
  await writeFile(path, 'earlier\none\ntwo\nthree\n');
  expect(await logTail(path, { lines: 2 })).toBe('two\nthree');
  expect(await logTail(path, { from: 'earlier\n'.length })).toBe('one\ntwo\nthree');
  expect(await logTail(join(folder, 'none.log'))).toBe('');
});

test('a line of JSON is told as level, message and what went wrong; a long line is cut', async () => {
  const err = { type: 'Error', message: '\nInvalid `findUnique()`:\n\nThe server is gone', stack: 'at x' };
  const line = { level: 'warn', time: '2026-01-02T03:04:05Z', pid: 1, name: 'api', err, msg: 'no answer yet' };
  await writeFile(path, `${JSON.stringify(line)}\n{"level":"info","msg":"up"}\n{"other":1}\n${'x'.repeat(1000)}\n`);
  expect((await logTail(path)).split('\n')).toEqual([
    'warn: no answer yet: The server is gone',
    'info: up',
    '{"other":1}',
    `${'x'.repeat(239)}…`,
  ]);
});

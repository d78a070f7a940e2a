import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { seededRandom } from '@cairn/testing';
import { expect, test } from 'vitest';
import { pythonSetOrder } from './definitions.ts';

const run = promisify(execFile);
const python = process.env.CAIRN_PYTHON ?? 'python3';

test('numbers come in the order that Python gives', async () => {
  const random = seededRandom(5);
  const drawn = (most: number, below: number): number[] =>
    Array.from({ length: Math.floor(random() * most) }, () => Math.floor(random() * below));
  const cases = [
    [],
    [0, 0],
    [203_093, 5, 8, 16, 24, 203_093],
    // All on one place of the table, over several sizes of it.
    Array.from({ length: 40 }, (_, i) => (40 - i) * 1024),
    ...Array.from({ length: 300 }, () => drawn(12, 203_094)),
    ...Array.from({ length: 20 }, () => drawn(2000, 4000)),
    drawn(150_000, 2 ** 31),
  ];
  const program = 'import json, sys; json.dump([list(set(case)) for case in json.load(sys.stdin)], sys.stdout)';
  const running = run(python, ['-I', '-c', program], { maxBuffer: 2 ** 26, timeout: 15_000 });
  running.child.stdin?.end(JSON.stringify(cases));
  expect(cases.map(pythonSetOrder)).toEqual(JSON.parse((await running).stdout));
});

import { expect, test } from 'vitest';
import { createLogPace } from './buffers.ts';

const line = (index: number) => Buffer.from(`${String(index).padStart(1023, '0')}\n`);
const textOf = (pieces: Buffer[]) => Buffer.concat(pieces).toString();

test('usual output passes unchanged', () => {
  const pace = createLogPace({ now: () => 0 });
  for (let index = 0; index < 1_000; index += 1) expect(textOf(pace.take(line(index)))).toBe(line(index).toString());
  expect(pace.end()).toEqual([]);
});

test('the beginning and the end of a flood are kept, and a line says how much is missing', () => {
  let at = 0;
  const pace = createLogPace({ now: () => at });
  let text = '';
  // 100 MiB within a second.
  const lines = 100 * 1024;
  for (let index = 0; index < lines; index += 1) {
    at = (index / lines) * 1_000;
    text += textOf(pace.take(line(index)));
  }
  text += textOf(pace.end());
  expect(text.length).toBeLessThan(18 * 1024 * 1024);
  expect(text.startsWith(line(0).toString())).toBe(true);
  expect(text.endsWith(line(lines - 2).toString() + line(lines - 1).toString())).toBe(true);
  const leftOut = [...text.matchAll(/\[(\d+) bytes were left out here: the program wrote faster/g)].map(([, bytes]) => Number(bytes));
  const notes = [...text.matchAll(/\n\[.*\]\n/g)].reduce((sum, [note]) => sum + note.length, 0);
  expect(text.length - notes + leftOut.reduce((sum, bytes) => sum + bytes, 0)).toBe(lines * 1024);
});

test('the output of a program that has slowed down passes again', () => {
  let at = 0;
  const pace = createLogPace({ now: () => at });
  for (let index = 0; index < 20 * 1024; index += 1) pace.take(line(index));
  at = 10_000;
  expect(textOf(pace.take(Buffer.from('Traceback')))).toMatch(/bytes were left out here[\s\S]*Traceback$/);
});

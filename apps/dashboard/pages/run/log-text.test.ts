import { expect, test } from 'vitest';
import { lastUpdate, markMatches, piecesOf, recordPieces } from './log-text.ts';

test('a progress bar is what its last update wrote', () => {
  expect(lastUpdate(' 0%|   | 0/3\r 33%|#  | 1/3\r100%|###| 3/3\r')).toBe('100%|###| 3/3');
  expect(lastUpdate('a line of Windows\r')).toBe('a line of Windows');
  expect(lastUpdate('')).toBe('');
});

test('colours are classes, and nothing else of an escape sequence or a control character is left', () => {
  const line = '\u001b[31mERROR\u001b[0m out of \u001b[1mmemory\u001b[0m\u0007 <script>\u001b[38;5;200m!\u001b[2K';
  expect(piecesOf(line)).toEqual([
    { text: 'ERROR', look: 'ansi-red' },
    { text: ' out of ', look: '' },
    { text: 'memory', look: 'bold' },
    { text: ' <script>', look: '' },
    { text: '!', look: '' },
  ]);
});

test('a line of JSON that a program of Cairn logged is time, level, message and the rest; any other JSON stays as it is', () => {
  const clock = (ms: number): string => new Date(ms).toISOString().slice(11, 19);
  const line = (record: object): string =>
    JSON.stringify({ level: 'warn', time: '2026-11-30T12:57:23.528Z', pid: 7, name: 'agent', ...record });
  const pieces = recordPieces(line({ imageId: 'a6', shards: [1, 2], msg: 'an image is\u0007 left out' }), clock);
  expect(pieces?.map(({ text }) => text).join('')).toBe('12:57:23 warn  an image is left out imageId=a6 shards=[1,2]');
  expect(pieces?.[1]?.look).toBe('ansi-yellow');
  const failed = recordPieces(line({ err: { message: 'gone', stack: 'Error: gone\n    at read' }, msg: 'no' }), clock);
  expect(failed?.at(-1)).toEqual({ text: '\nError: gone\n    at read', look: 'ansi-red' });
  for (const other of ['{"loss": 0.5}', '{"level"', 'step 1', '[1]']) expect(recordPieces(other, clock)).toBeNull();
});

test('matches are marked in any case, and the pieces together are the line', () => {
  const marked = markMatches(piecesOf('Loss \u001b[32mloss\u001b[0m, no l'), 'LOSS');
  expect(marked.filter(({ isMatch }) => isMatch).map(({ text, at }) => [text, at])).toEqual([
    ['Loss', 0],
    ['loss', 5],
  ]);
  expect(marked.map(({ text }) => text).join('')).toBe('Loss loss, no l');
  expect(markMatches(piecesOf('abc'), '').some(({ isMatch }) => isMatch)).toBe(false);
});

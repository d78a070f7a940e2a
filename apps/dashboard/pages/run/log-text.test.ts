import { expect, test } from 'vitest';
import { lastUpdate, markMatches, piecesOf } from './log-text.ts';

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

test('matches are marked in any case, and the pieces together are the line', () => {
  const marked = markMatches(piecesOf('Loss \u001b[32mloss\u001b[0m, no l'), 'LOSS');
  expect(marked.filter(({ isMatch }) => isMatch).map(({ text, at }) => [text, at])).toEqual([
    ['Loss', 0],
    ['loss', 5],
  ]);
  expect(marked.map(({ text }) => text).join('')).toBe('Loss loss, no l');
  expect(markMatches(piecesOf('abc'), '').some(({ isMatch }) => isMatch)).toBe(false);
});

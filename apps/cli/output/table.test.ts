import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import { createStyle } from './style.ts';
import { cutTo, tableLines, visibleWidth } from './table.ts';

const red = createStyle(true).bad;

test('columns are aligned, numbers to the right, regardless of colours', () => {
  const columns = [{ title: 'name' }, { title: 'steps', align: 'right' as const }, { title: 'why' }];
  const rows = [
    [red('mini-1'), '11', 'new'],
    ['a', '3', red('failed')],
  ];
  const plain = tableLines(columns, rows).map(stripVTControlCharacters);
  expect(plain).toEqual(['name     steps   why', 'mini-1      11   new', 'a            3   failed']);
});

test('empty titles take no line', () => {
  expect(tableLines([{ title: '' }, { title: '' }], [['a', 'b']])).toEqual(['a   b']);
});

test('a text is cut to a width with its colours closed', () => {
  expect(cutTo('abcdef', 4)).toBe('abc…');
  expect(cutTo('abcd', 4)).toBe('abcd');
  const cut = cutTo(`${red('abcdef')}gh`, 4);
  expect(visibleWidth(cut)).toBe(4);
  expect(cut).toContain('\u001b[39m');
});

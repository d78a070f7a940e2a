import { stripVTControlCharacters } from 'node:util';
import { CairnError } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import { printError } from '../exit-codes.ts';
import { memoryOutput } from '../testing/test-cli.ts';
import { createStyle } from './style.ts';
import { cutTo, tableLines, visibleWidth } from './table.ts';
import { createUi } from './ui.ts';
import { formatAgo, formatBytes, formatCount, formatDuration, formatNumber, formatPercent, plural, secondsBetween } from './units.ts';
import { jsonText, printable, printableLine, visibleLogLine, visibleText } from './visible-text.ts';

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

test('durations have at most two units and the same format at every size', () => {
  const shown = [0, 0.84, 9.94, 9.96, 48.4, 59.6, 185, 3599.6, 8040, 90_000, 400_000].map(formatDuration);
  expect(shown).toEqual([
    '0.0 s',
    '0.8 s',
    '9.9 s',
    '10 s',
    '48 s',
    '1 min 00 s',
    '3 min 05 s',
    '1 h 00 min',
    '2 h 14 min',
    '1 d 1 h',
    '4 d 15 h',
  ]);
  expect(formatDuration(-1)).toBe('0.0 s');
  expect(formatDuration(Number.POSITIVE_INFINITY)).toBe('?');
});

test('times are shown as how long ago they were', () => {
  const now = new Date('2026-01-02T00:00:00Z');
  const before = (seconds: number): string => formatAgo(new Date(now.getTime() - seconds * 1000), now);
  expect([0, 30, 200, 8000, 200_000].map(before)).toEqual(['just now', '30 s ago', '3 min ago', '2 h ago', '2 d ago']);
  // A server whose clock is a little ahead.
  expect(before(-3)).toBe('just now');
});

test('bytes, counts, shares and measures have their units', () => {
  expect([0, 812, 999, 1000, 12_345_678, 999_960, 5.4e12].map(formatBytes)).toEqual([
    '0 B',
    '812 B',
    '999 B',
    '1.0 kB',
    '12.3 MB',
    '1.0 MB',
    '5.4 TB',
  ]);
  expect(formatCount(4_925_110)).toBe('4,925,110');
  expect(formatPercent(0.7561)).toBe('75.6 %');
  expect([6.912, 68.31, 120.4, 1204].map(formatNumber)).toEqual(['6.91', '68.3', '120', '1,204']);
  expect([plural(1, 'step'), plural(2, 'step'), plural(0, 'match', 'matches')]).toEqual(['1 step', '2 steps', '0 matches']);
});

test('a time that has not ended counts up to now', () => {
  const now = new Date('2026-01-02T00:00:30Z');
  expect(secondsBetween('2026-01-02T00:00:00Z', null, now)).toBe(30);
  expect(secondsBetween('2026-01-02T00:00:00Z', '2026-01-02T00:00:10Z', now)).toBe(10);
});

const bad = createStyle(true).bad;

describe('text from others', () => {
  test.each([
    ['an escape that clears the screen', '\x1b[2Jx', '\\x1b[2Jx'],
    ['a colour', '\x1b[31mx', '\\x1b[31mx'],
    ['a title of the window', '\x1b]0;x\x07', '\\x1b]0;x\\x07'],
    ['an escape of one byte', '\x9b2J', '\\x9b2J'],
    ['a return to the beginning of the line', 'a\rb', 'a\\x0db'],
    ['a backspace and a NUL', 'a\b\0', 'a\\x08\\x00'],
    ['a change of direction', 'a\u202eb\u2066', 'a\\u{202e}b\\u{2066}'],
    ['spaces of no width', 'prod\u200bu\u2060c\u00adt\ufeff', 'prod\\u{200b}u\\u{2060}c\\xadt\\u{feff}'],
    ['joiners between Latin letters', 'a\u200db\u200cc\ufe0f', 'a\\u{200d}b\\u{200c}c\\u{fe0f}'],
    ['blank letters', 'a\u3164\u115f\uffa0\u034f', 'a\\u{3164}\\u{115f}\\u{ffa0}\\u{34f}'],
    ['invisible tags', 'a\u{e0001}\u{e0041}\u{e0100}', 'a\\u{e0001}\\u{e0041}\\u{e0100}'],
    ['breaks of lines', 'a\u2028b\u2029', 'a\\u{2028}b\\u{2029}'],
    ['half an emoji', 'a\ud83d', 'a\\u{d83d}'],
    [
      'emoji and scripts with joiners',
      '\u{1f469}\u200d\u{1f680} \u2764\ufe0f \u0645\u06cc\u200c\u0631',
      '\u{1f469}\u200d\u{1f680} \u2764\ufe0f \u0645\u06cc\u200c\u0631',
    ],
    ['lines, tabs and other scripts', 'a\r\n\tb \u00e9 \u{1f680} \u05d0', 'a\n\tb \u00e9 \u{1f680} \u05d0'],
  ])('is shown with %s escaped where it would control a terminal', (_, text, shown) => {
    expect(visibleText(text)).toBe(shown);
  });

  test('keeps our own colours, and nothing else that is not text', () => {
    expect(printable(`${bad('a\x1b[H')}\nb`)).toBe(`${bad('a\\x1b[H')}\nb`);
    expect(printableLine(`${bad('a')}\n\tb`)).toBe(`${bad('a')} b`);
  });

  test('in a cell of a table has no control characters and no line breaks', () => {
    expect(tableLines([{ title: 'a' }, { title: 'b' }], [['x\x1b[1A\ny', 'z']])).toEqual(['a            b', 'x\\x1b[1A y   z']);
  });

  test('is escaped in every output, even if it does not come from a service', () => {
    const [stdout, stderr] = [memoryOutput(), memoryOutput()];
    const ui = createUi({ stdout, stderr, env: {}, isJson: false, isColourWanted: true });
    ui.line('a file named \x1b[2J');
    ui.note('another \x9b');
    printError(new CairnError('not_found', 'no \x1b[31mfile\x07'), { stderr, isJson: false, isColoured: false, isDebug: false });
    expect(stdout.text()).toBe('a file named \\x1b[2J\n');
    expect(stderr.text()).toMatch(/^another \\x9b\nerror: no \\x1b\[31mfile\\x07\n/);
  });

  test('in JSON has every control escaped, and parses to the original', () => {
    const text = jsonText({ a: '\x1b\x7f\x9b\u202e\u{e0041}' });
    expect(text).toBe('{"a":"\\u001b\\u007f\\u009b\\u202e\\udb40\\udc41"}');
    expect(JSON.parse(text)).toEqual({ a: '\x1b\x7f\x9b\u202e\u{e0041}' });
  });
});

describe('a line of a log', () => {
  test('keeps its colours where colours are shown, and resets them at its end', () => {
    expect(visibleLogLine('\x1b[31mError\x1b[2J', { isColoured: true })).toBe('\x1b[31mError\\x1b[2J\x1b[0m');
    expect(visibleLogLine('\x1b[31mError\x1b[0m', { isColoured: false })).toBe('Error');
    expect(visibleLogLine('plain', { isColoured: true })).toBe('plain');
  });

  test('that was overwritten is shown in its last state', () => {
    expect(visibleLogLine('10 %\r20 %\r30 %\r', { isColoured: false })).toBe('30 %');
  });
});

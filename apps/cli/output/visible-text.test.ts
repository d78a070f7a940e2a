import { CairnError } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import { printError } from '../print-error.ts';
import { memoryOutput } from '../testing/test-cli.ts';
import { createStyle } from './style.ts';
import { tableLines } from './table.ts';
import { createUi } from './ui.ts';
import { jsonText, printable, printableLine, visibleLogLine, visibleText } from './visible-text.ts';

const red = createStyle(true).bad;

describe('text from others', () => {
  test.each([
    ['an escape that clears the screen', '\x1b[2Jx', '\\x1b[2Jx'],
    ['a colour', '\x1b[31mx', '\\x1b[31mx'],
    ['a title of the window', '\x1b]0;x\x07', '\\x1b]0;x\\x07'],
    ['an escape of one byte', '\x9b2J', '\\x9b2J'],
    ['a return to the beginning of the line', 'a\rb', 'a\\x0db'],
    ['a backspace and a NUL', 'a\b\0', 'a\\x08\\x00'],
    ['a change of direction', 'a\u202eb\u2066', 'a\\u{202e}b\\u{2066}'],
    ['half an emoji', 'a\ud83d', 'a\\u{d83d}'],
    ['lines, tabs and other scripts', 'a\r\n\tb \u00e9 \u{1f680} \u05d0', 'a\n\tb \u00e9 \u{1f680} \u05d0'],
  ])('is shown with %s escaped where it would control a terminal', (_, text, shown) => {
    expect(visibleText(text)).toBe(shown);
  });

  test('keeps our own colours, and nothing else that is not text', () => {
    expect(printable(`${red('a\x1b[H')}\nb`)).toBe(`${red('a\\x1b[H')}\nb`);
    expect(printableLine(`${red('a')}\n\tb`)).toBe(`${red('a')} b`);
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
    const text = jsonText({ a: '\x1b\x7f\x9b\u202e' });
    expect(text).toBe('{"a":"\\u001b\\u007f\\u009b\\u202e"}');
    expect(JSON.parse(text)).toEqual({ a: '\x1b\x7f\x9b\u202e' });
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

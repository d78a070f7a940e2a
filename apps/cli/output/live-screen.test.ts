import { expect, test } from 'vitest';
import { memoryOutput } from '../testing/test-cli.ts';
import { createLiveScreen } from './live-screen.ts';

/** A terminal that supports what the live screen uses, wraps long lines, and rewraps its content when made narrower. */
function terminal(columns: number, rows = 24) {
  const output = memoryOutput({ columns, rows });
  let cells: string[] = [''];
  let row = 0;
  let column = 0;
  const write = output.write;
  output.write = (text) => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the escapes of a terminal
    for (const part of text.split(/(\x1b\[\??\d*[A-Za-z]|\n|\r)/)) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: the escapes of a terminal
      const up = part.match(/^\x1b\[(\d+)A$/);
      if (up) row = Math.max(0, row - Number(up[1]));
      else if (part === '\n') {
        row += 1;
        column = 0;
        cells[row] ??= '';
      } else if (part === '\r') column = 0;
      else if (part === '\x1b[K') cells[row] = (cells[row] ?? '').slice(0, column);
      else if (part === '\x1b[J') {
        cells[row] = (cells[row] ?? '').slice(0, column);
        cells = cells.slice(0, row + 1);
      } else if (!part.startsWith('\x1b')) {
        for (const character of part) {
          if (column >= (output.columns ?? 80)) {
            row += 1;
            column = 0;
            cells[row] ??= '';
          }
          const line = (cells[row] ?? '').padEnd(column);
          cells[row] = line.slice(0, column) + character + line.slice(column + 1);
          column += 1;
        }
      }
    }
    return write(text);
  };
  return {
    output,
    lines: () => cells.filter((line, index) => index < cells.length - 1 || line !== ''),
    narrow: (width: number) => {
      const wrapped = cells.flatMap((line) => (line === '' ? [''] : (line.match(new RegExp(`.{1,${width}}`, 'g')) ?? [''])));
      cells = wrapped;
      row = cells.length - 1;
      column = 0;
      output.resize(width);
    },
  };
}

test('lines are redrawn in place, longer, shorter, more and fewer', () => {
  const { output, lines } = terminal(40);
  output.write('before\n');
  const screen = createLiveScreen(output);
  for (const shown of [['a', 'bb'], ['a longer one', 'b'], ['x'], ['one', 'two', 'three']]) {
    screen.draw(shown);
    expect(lines()).toEqual(['before', ...shown]);
  }
  screen.above('printed in between');
  expect(lines()).toEqual(['before', 'printed in between', 'one', 'two', 'three']);
});

test('a line wider than the terminal is cut, so that it takes one row', () => {
  const { output, lines } = terminal(20);
  const screen = createLiveScreen(output);
  screen.draw(['x'.repeat(50), 'second']);
  screen.draw(['y'.repeat(50), 'second']);
  expect(lines()).toEqual([`${'y'.repeat(18)}…`, 'second']);
});

test('after the terminal was made narrower nothing is left of the old view', () => {
  const { output, lines, narrow } = terminal(60);
  output.write('before\n');
  const screen = createLiveScreen(output);
  screen.draw(['a'.repeat(50), 'b'.repeat(30)]);
  narrow(25);
  screen.draw(['a'.repeat(50), 'b'.repeat(30)]);
  expect(lines()).toEqual(['before', `${'a'.repeat(23)}…`, `${'b'.repeat(23)}…`]);
});

test('a view taller than the terminal is cut to its rows', () => {
  const { output, lines } = terminal(40, 4);
  createLiveScreen(output).draw(['1', '2', '3', '4', '5']);
  expect(lines()).toEqual(['1', '2', '3']);
});

test('nothing is cleared before it is overwritten, and the cursor comes back at the end', () => {
  const { output } = terminal(40);
  const screen = createLiveScreen(output);
  screen.draw(['a']);
  screen.draw(['b']);
  screen.close();
  screen.draw(['too late']);
  expect(output.text()).not.toContain('\u001b[2J');
  expect(output.text()).not.toContain('\u001b[2K');
  expect(output.text().endsWith('\u001b[?25h')).toBe(true);
});

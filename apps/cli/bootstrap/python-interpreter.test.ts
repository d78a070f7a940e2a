import { describe, expect, test } from 'vitest';
import { chooseInterpreter } from './python-interpreter.mjs';

type Interpreter = Parameters<typeof chooseInterpreter>[0][number];

const python = (version: [number, number, number], missing: Partial<Interpreter> = {}): Interpreter => ({
  command: 'python3',
  version,
  path: `/usr/bin/python${version[0]}.${version[1]}`,
  venv: true,
  ensurepip: true,
  pip: true,
  ...missing,
});

describe('the choice of a Python', () => {
  test('takes the first that is new enough', () => {
    expect(chooseInterpreter([python([3, 9, 2]), python([3, 12, 1]), python([3, 13, 0])]).version).toEqual([3, 12, 1]);
  });

  test('takes the oldest for which the pinned packages have wheels', () => {
    expect(chooseInterpreter([python([3, 9, 18]), python([3, 10, 0])]).version).toEqual([3, 10, 0]);
  });

  test('skips 3.14.1, which torchvision rejects, and says so when there is no other', () => {
    const refused = python([3, 14, 1]);
    expect(chooseInterpreter([refused, python([3, 10, 13])]).version).toEqual([3, 10, 13]);
    expect(chooseInterpreter([python([3, 14, 0])]).version).toEqual([3, 14, 0]);
    expect(chooseInterpreter([python([3, 14, 2])]).version).toEqual([3, 14, 2]);
    expect(() => chooseInterpreter([refused])).toThrow(
      'Python 3.10 or newer, but not 3.14.1, is needed; found Python 3.14.1 (/usr/bin/python3.14).',
    );
  });

  test('takes one too new for the pinned wheels only when there is no other', () => {
    expect(chooseInterpreter([python([3, 19, 0]), python([3, 11, 7])]).version).toEqual([3, 11, 7]);
    expect(chooseInterpreter([python([3, 19, 0])]).version).toEqual([3, 19, 0]);
  });

  test('prefers one that creates environments by itself to one that lends its pip', () => {
    const bare = python([3, 11, 2], { ensurepip: false });
    expect(chooseInterpreter([bare, python([3, 13, 0])]).version).toEqual([3, 13, 0]);
    expect(chooseInterpreter([bare])).toBe(bare);
  });

  test('names the package that Debian provides separately', () => {
    const bare = python([3, 11, 2], { ensurepip: false, pip: false });
    expect(() => chooseInterpreter([bare])).toThrow(
      expect.objectContaining({
        message: 'Python 3.11.2 (/usr/bin/python3.11) cannot make virtual environments: its modules venv and ensurepip are not installed.',
        remedy: expect.stringContaining('apt-get install python3.11-venv'),
      }),
    );
  });

  test('says what was found when all are too old, or none exists', () => {
    expect(() => chooseInterpreter([python([3, 8, 18]), python([3, 8, 18], { command: 'python' })])).toThrow(
      'Python 3.10 or newer is needed; found Python 3.8.18 (/usr/bin/python3.8).',
    );
    expect(() => chooseInterpreter([])).toThrow('found none');
  });
});

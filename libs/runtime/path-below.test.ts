import { expect, test } from 'vitest';
import { pathBelow } from './path-below.ts';

test('a path of names lies below the folder', () => {
  expect(pathBelow('/out', '384', 'events.1')).toBe('/out/384/events.1');
  expect(pathBelow('/', 'a')).toBe('/a');
  expect(pathBelow('out', '..a')).toBe('out/..a');
});

test.each([['..'], ['a', '..'], ['../x'], ['/etc/passwd'], ['a/b'], ['a\\b'], [''], ['.'], ['a\0b'], ['..', 'out', 'x']])(
  '%j is refused',
  (...names) => {
    expect(() => pathBelow('/out', ...names)).toThrow(expect.objectContaining({ code: 'invalid_path' }));
  },
);

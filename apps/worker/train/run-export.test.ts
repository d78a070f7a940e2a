import { expect, test } from 'vitest';
import { listToCheck } from './run-export.ts';

const list = { rows: 1, distinct: 1, classes: null };

test('an export is checked on images of the index, or else of whatever list the recipe makes', () => {
  expect(listToCheck({ clean: list, index: list })).toBe('index');
  expect(listToCheck({ c2x: list })).toBe('c2x');
  expect(listToCheck({})).toBeNull();
});

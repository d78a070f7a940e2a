import { expect, test } from 'vitest';
import { structureFault } from './request-body.ts';

const bounds = { values: 10, depth: 3 };

test.each<[string, unknown]>([
  ['the maximum number of values', { a: [1, 2, 3], b: { c: 4, d: 5 }, e: 6, f: 7 }],
  ['the maximum depth', [[[1]]]],
  ['one value', 'text'],
])('%s is accepted', (_, body) => {
  expect(structureFault(body, bounds)).toBeNull();
});

test.each<[string, unknown, string]>([
  ['one value more', { a: [1, 2, 3], b: { c: 4, d: 5 }, e: 6, f: 7, g: 8 }, 'more than 10 values'],
  ['many names', Object.fromEntries(Array.from({ length: 50 }, (_, index) => [index, 0])), 'more than 10 values'],
  ['one level more', [[[[1]]]], 'more than 3 deep'],
  ['endless nesting', JSON.parse('['.repeat(50_000) + ']'.repeat(50_000)), 'more than 3 deep'],
])('%s is rejected', (_, body, fault) => {
  expect(structureFault(body, bounds)).toContain(fault);
});

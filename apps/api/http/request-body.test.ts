import { expect, test } from 'vitest';
import { structureFault } from './request-body.ts';

const bounds = { values: 10, depth: 3 };

test.each<[string, unknown]>([
  ['as many values as there may be', { a: [1, 2, 3], b: { c: 4, d: 5 }, e: 6, f: 7 }],
  ['as deep as it may be', [[[1]]]],
  ['one value', 'text'],
])('%s is taken', (_, body) => {
  expect(structureFault(body, bounds)).toBeNull();
});

test.each<[string, unknown, string]>([
  ['one value more', { a: [1, 2, 3], b: { c: 4, d: 5 }, e: 6, f: 7, g: 8 }, 'more than 10 values'],
  ['many names', Object.fromEntries(Array.from({ length: 50 }, (_, index) => [index, 0])), 'more than 10 values'],
  ['one level more', [[[[1]]]], 'more than 3 deep'],
  ['levels without end', JSON.parse('['.repeat(50_000) + ']'.repeat(50_000)), 'more than 3 deep'],
])('%s is told', (_, body, fault) => {
  expect(structureFault(body, bounds)).toContain(fault);
});

import { expect, test } from 'vitest';
import { seededRandom } from './seeded-random.ts';

test('a seed gives the numbers of mulberry32, so that a printed seed reproduces a sample', () => {
  const next = seededRandom(1);
  // From the algorithm's public C source with the seed 1.
  expect([next(), next(), next()].map((number) => number * 2 ** 32)).toEqual([2_693_262_067, 11_749_833, 2_265_367_787]);
  expect(seededRandom(2)()).not.toBe(seededRandom(1)());
});

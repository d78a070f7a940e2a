import { expect, test } from 'vitest';
import { backoff } from './backoff.ts';

const waits = (random: () => number) => [0, 1, 2, 3, 4, 50].map((attempt) => backoff({ attempt, baseMs: 100, maxMs: 1000, random }));

test('the wait doubles with each failed try and stays under the limit', () => {
  expect(waits(() => 1)).toEqual([100, 200, 400, 800, 1000, 1000]);
});

test('the jitter takes at most half of the wait away', () => {
  expect(waits(() => 0)).toEqual([50, 100, 200, 400, 500, 500]);
});

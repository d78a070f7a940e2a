import { expect, test } from 'vitest';
import { createRateLimit } from './rate-limit.ts';

test('each key has its own allowance, which is full again after a while', () => {
  let at = 0;
  const limit = createRateLimit({ perSecond: 10, most: 100, now: () => at });
  const taken = (key: string, times: number) =>
    Array.from({ length: times }, () => limit.take(key)).filter((waitMs) => waitMs === 0).length;
  expect(taken('a', 50)).toBe(20);
  expect(limit.take('a')).toBe(100);
  expect(taken('b', 50)).toBe(20);
  at += 1_000;
  expect(taken('a', 50)).toBe(10);
  at += 60_000;
  expect(taken('a', 50)).toBe(20);
});

test('less than one a second is still one', () => {
  let at = 0;
  const limit = createRateLimit({ perSecond: 0.1, most: 100, now: () => at });
  expect(limit.take('a')).toBe(0);
  expect(limit.take('a')).toBe(10_000);
  at += 10_000;
  expect(limit.take('a')).toBe(0);
});

test('0 limits nothing, and keys without end are not all remembered', () => {
  const none = createRateLimit({ perSecond: 0, most: 100 });
  for (let call = 0; call < 1_000; call += 1) expect(none.take('a')).toBe(0);
  const limit = createRateLimit({ perSecond: 10, most: 100 });
  for (let key = 0; key < 1_000; key += 1) limit.take(String(key));
  expect(limit.size()).toBe(100);
});

test('the first of a key is always taken, whatever the clock rounds', () => {
  let at = 0;
  const limit = createRateLimit({ perSecond: 1 / 60, most: 10_000, now: () => at });
  for (let key = 0; key < 5_000; key += 1) {
    at += Math.PI;
    expect(limit.take(String(key))).toBe(0);
  }
});

import { CairnError } from '@cairn/contract';
import { expect, test } from 'vitest';
import { delayAfter } from './wait.ts';

test('a server that names a time is asked again then or up to half as much later, so that not all come at once', () => {
  const error = new CairnError('rate_limited', 'too many', { details: { retryAfterSeconds: 4 } });
  const delays = Array.from({ length: 200 }, () => delayAfter(error, 1, 5_000));
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(4_000);
  expect(Math.max(...delays)).toBeLessThanOrEqual(6_000);
  expect(new Set(delays).size).toBeGreaterThan(100);
});

test('one that names none is waited for longer after each failure', () => {
  expect(delayAfter(new Error('away'), 1, 5_000)).toBeLessThanOrEqual(200);
  expect(delayAfter(new Error('away'), 20, 5_000)).toBeGreaterThanOrEqual(2_500);
});

import { CairnError } from '@cairn/contract';
import { expect, test } from 'vitest';
import { delayAfter } from './wait.ts';

test("a call is retried after the server's Retry-After or up to half as long again, so that not all clients return at once", () => {
  const error = new CairnError('rate_limited', 'too many', { details: { retryAfterSeconds: 4 } });
  const delays = Array.from({ length: 200 }, () => delayAfter(error, 1, 5_000));
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(4_000);
  expect(Math.max(...delays)).toBeLessThanOrEqual(6_000);
  expect(new Set(delays).size).toBeGreaterThan(100);
});

test('without Retry-After the wait grows with each failure', () => {
  expect(delayAfter(new Error('away'), 1, 5_000)).toBeLessThanOrEqual(200);
  expect(delayAfter(new Error('away'), 20, 5_000)).toBeGreaterThanOrEqual(2_500);
});

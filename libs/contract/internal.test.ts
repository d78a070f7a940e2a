import { expect, test } from 'vitest';
import { agreedProtocol, oldestProtocol, protocol } from './internal.ts';

test('the older of the two protocols is used, and none when the other side is older than the previous one', () => {
  expect([5, 4, 3, 2, 1].map((theirs) => agreedProtocol(theirs, 4))).toEqual([4, 4, 3, null, null]);
  expect([2, 1, 0].map((theirs) => agreedProtocol(theirs, 1))).toEqual([1, 1, null]);
});

test('our protocol defaults to that of this release', () => {
  expect(agreedProtocol(protocol + 1)).toBe(protocol);
  expect(agreedProtocol(oldestProtocol)).toBe(oldestProtocol);
});

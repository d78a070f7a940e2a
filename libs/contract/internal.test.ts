import { expect, test } from 'vitest';
import { agreedProtocol, oldestProtocol, protocol } from './internal.ts';

test('the older of both protocols is spoken, and none with a side that is older than the one before ours', () => {
  expect([5, 4, 3, 2, 1].map((theirs) => agreedProtocol(theirs, 4))).toEqual([4, 4, 3, null, null]);
  expect([2, 1, 0].map((theirs) => agreedProtocol(theirs, 1))).toEqual([1, 1, null]);
});

test('without another word ours is that of this release', () => {
  expect(agreedProtocol(protocol + 1)).toBe(protocol);
  expect(agreedProtocol(oldestProtocol)).toBe(oldestProtocol);
});

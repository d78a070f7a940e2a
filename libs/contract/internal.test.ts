import { expect, test } from 'vitest';
import { agreedProtocol, oldestProtocol, protocol } from './internal.ts';

test('with a newer side this one’s protocol is spoken, with an older one that one’s, and none with one that is too old', () => {
  expect(agreedProtocol(protocol + 1)).toBe(protocol);
  expect(agreedProtocol(protocol)).toBe(protocol);
  expect(agreedProtocol(oldestProtocol)).toBe(oldestProtocol);
  expect(agreedProtocol(oldestProtocol - 1)).toBeNull();
});

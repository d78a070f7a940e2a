import { expect, test } from 'vitest';
import { parseQuantity } from './quantity.ts';

test.each([
  ['8', 8],
  ['500m', 0.5],
  ['64Gi', 64 * 2 ** 30],
  ['1.5G', 1.5e9],
  ['1e3', 1000],
  ['128k', 128_000],
])('%s is %d', (text, value) => expect(parseQuantity(text)).toBe(value));

test.each(['', 'Gi', '64 Gi', '-1', '5x'])('"%s" is not a quantity', (text) => expect(parseQuantity(text)).toBeNaN());

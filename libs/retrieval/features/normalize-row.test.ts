import fc from 'fast-check';
import { expect, test } from 'vitest';
import { normalizeRow } from './normalize-row.ts';

function normalized(...values: number[]): number[] | null {
  const out = new Float16Array(values.length);
  return normalizeRow(Float32Array.from(values), out) ? [...out] : null;
}

test('a vector keeps its direction and gets the length 1', () => {
  expect(normalized(3, 4)).toEqual([Math.f16round(0.6), Math.f16round(0.8)]);
  expect(normalized(0, -250, 0)).toEqual([0, -1, 0]);
});

test('values are rounded to the nearest float16, on a tie to the even one', () => {
  // Beside a 1 the length is 1 in float64, so that the small values stay as they are.
  const even = 2 ** -14;
  const step = 2 ** -24;
  expect(normalized(1, even + step / 2)).toEqual([1, even]);
  expect(normalized(1, even + step * 1.5)).toEqual([1, even + 2 * step]);
  expect(normalized(1, even + step * 0.51)).toEqual([1, even + step]);
});

test('values below 2^-14 become subnormal, and those below half the least one 0', () => {
  expect(normalized(1, 3 * 2 ** -24, 2 ** -24, 2 ** -25, 2 ** -25 * 1.01)).toEqual([1, 3 * 2 ** -24, 2 ** -24, 0, 2 ** -24]);
});

test('very long and very short vectors lose nothing', () => {
  expect(normalized(3e30, 4e30)).toEqual([Math.f16round(0.6), Math.f16round(0.8)]);
  expect(normalized(3e-30, 4e-30)).toEqual([Math.f16round(0.6), Math.f16round(0.8)]);
});

test('a vector without direction is refused, and nothing is written', () => {
  for (const values of [[0, 0], [Number.NaN, 1], [Number.POSITIVE_INFINITY, 1]]) expect(normalized(...values)).toBeNull();
  const out = Float16Array.of(7, 7);
  normalizeRow(Float32Array.of(0, 0), out);
  expect([...out]).toEqual([7, 7]);
});

test('the length is 1 to within the rounding of float16', () => {
  fc.assert(
    fc.property(fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }), { minLength: 1, maxLength: 64 }), (values) => {
      fc.pre(values.some((value) => Math.abs(value) > 1e-3));
      expect(Math.hypot(...(normalized(...values) ?? []))).toBeCloseTo(1, 2);
    }),
  );
});

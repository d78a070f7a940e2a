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
  // Both vectors have the length 8192, and float16 is 2^-11 apart from 0.5 to 1.
  const [lower, upper] = [normalized(4098, 7093, 67, 11, 1), normalized(4102, 7091, 13, 3, 1)];
  expect(lower?.[0]).toBe(0.5);
  expect(upper?.[0]).toBe(0.5 + 2 * 2 ** -11);
  expect(lower?.[1]).toBe(Math.round((7093 / 8192) * 2048) / 2048);
});

test('values below 2^-14 become subnormal, and those below half the least one 0', () => {
  expect(normalized(1, 3 * 2 ** -24, 2 ** -24, 2 ** -25, 2 ** -25 * 1.01)).toEqual([1, 3 * 2 ** -24, 2 ** -24, 0, 2 ** -24]);
});

test('very long and very short vectors lose nothing', () => {
  expect(normalized(3e30, 4e30)).toEqual([Math.f16round(0.6), Math.f16round(0.8)]);
  expect(normalized(3e-30, 4e-30)).toEqual([Math.f16round(0.6), Math.f16round(0.8)]);
});

test('a vector without direction is refused, and nothing is written', () => {
  for (const values of [
    [0, 0],
    [Number.NaN, 1],
    [Number.POSITIVE_INFINITY, 1],
  ])
    expect(normalized(...values)).toBeNull();
  const out = Float16Array.of(7, 7);
  normalizeRow(Float32Array.of(0, 0), out);
  expect([...out]).toEqual([7, 7]);
});

test('the length is 1 to within the rounding of float16', () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }), { minLength: 1, maxLength: 64 }),
      (values) => {
        fc.pre(values.some((value) => Math.abs(value) > 1e-3));
        expect(Math.hypot(...(normalized(...values) ?? []))).toBeCloseTo(1, 2);
      },
    ),
  );
});

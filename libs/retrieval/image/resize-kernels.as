// The inner loops of resize-reference.ts in AssemblyScript, compiled to resize-kernels.wasm by
// `node libs/retrieval/testing/compile-kernels.ts`. Vectors of 128 bits; all values stay within the bounds that OpenCV's own 16-bit
// arithmetic relies on. Callers lay out the memory.

/**
 * Resizes one row of RGB bytes to `size` pixels.
 *
 * @param row the source row; 8 bytes are read at each offset, so 5 more than the row must be readable
 * @param offsets `size` i32: byte offset of the left source pixel; the right one is the next
 * @param weights `size` pairs of i16: 11 bits of fraction, for the left and the right pixel
 * @param sums receives 3 x `size` i16, the weighted sums divided by 16, and 2 bytes beyond
 */
export function resizeRow(row: usize, offsets: usize, weights: usize, sums: usize, size: i32): void {
  for (let x = 0; x < size; x++) {
    const pixels = v128.load64_zero(row + load<i32>(offsets + (<usize>x << 2)));
    // r r' g g' b b' as 16-bit values.
    const pairs = i16x8.extend_low_i8x16_u(i8x16.shuffle(pixels, pixels, 0, 3, 1, 4, 2, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0));
    const products = i32x4.dot_i16x8_s(pairs, v128.load32_splat(weights + (<usize>x << 2)));
    const scaled = i32x4.shr_s(products, 4);
    v128.store64_lane(sums + <usize>x * 6, i16x8.narrow_i32x4_s(scaled, scaled), 0);
  }
}

/**
 * Weights two resized rows into one row of bytes: ((upper * w) >> 16) + ((lower * w') >> 16), rounded from 2 bits of fraction.
 *
 * @param upper `count` i16 of `resizeRow`, like `lower`; `count` is a multiple of 8, or the memory is padded to one
 */
export function blendRows(upper: usize, lower: usize, upperWeight: i32, lowerWeight: i32, out: usize, count: i32): void {
  const upperWeights = i16x8.splat(<i16>upperWeight);
  const lowerWeights = i16x8.splat(<i16>lowerWeight);
  const half = i16x8.splat(2);
  for (let at = 0; at < count; at += 8) {
    const above = v128.load(upper + (<usize>at << 1));
    const below = v128.load(lower + (<usize>at << 1));
    const low = i32x4.add(
      i32x4.shr_s(i32x4.extmul_low_i16x8_s(above, upperWeights), 16),
      i32x4.shr_s(i32x4.extmul_low_i16x8_s(below, lowerWeights), 16),
    );
    const high = i32x4.add(
      i32x4.shr_s(i32x4.extmul_high_i16x8_s(above, upperWeights), 16),
      i32x4.shr_s(i32x4.extmul_high_i16x8_s(below, lowerWeights), 16),
    );
    const rounded = i16x8.shr_s(i16x8.add(i16x8.narrow_i32x4_s(low, high), half), 2);
    v128.store64_lane(out + <usize>at, i8x16.narrow_i16x8_u(rounded, rounded), 0);
  }
}

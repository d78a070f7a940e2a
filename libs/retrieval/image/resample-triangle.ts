import type { RgbImage } from './orientation.ts';

/** Pillow keeps 22 bits of fraction: a coefficient times a byte, summed, still fits 32 bits. */
const PRECISION_BITS = 22;

type Coefficients = {
  /** First source pixel of each output pixel. */
  first: Int32Array;
  /** Number of source pixels of each output pixel. */
  count: Int32Array;
  /** Weights, `stride` per output pixel, with {@link PRECISION_BITS} of fraction. */
  weights: Int32Array;
  stride: number;
};

/**
 * Resizes to `size` x `size` with an antialiased triangle filter, as Pillow's `Image.resize` with BILINEAR does
 * (src/libImaging/Resample.c): first along rows, then along columns, each pass rounded to bytes. Bit for bit the same, except where Pillow
 * 13 takes the columns of a tall image first: there single pixels differ by one. When an axis grows this is plain bilinear interpolation at
 * half-pixel centres. It runs on the calling thread, at about 1 ns per weight and channel.
 */
export function resampleTriangle({ pixels, width, height }: RgbImage, size: number): Uint8Array {
  const rows = width === size ? pixels : resampleRows(pixels, width, height, size);
  return height === size ? rows : resampleColumns(rows, size, height, size);
}

function coefficientsOf(length: number, size: number): Coefficients {
  const scale = length / size;
  // The triangle covers 1 source pixel on either side, scaled when the axis shrinks.
  const support = Math.max(scale, 1);
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(size);
  const count = new Int32Array(size);
  const weights = new Int32Array(size * stride);
  const exact = new Float64Array(stride);
  for (let index = 0; index < size; index++) {
    const centre = (index + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - support + 0.5));
    const to = Math.min(length, Math.trunc(centre + support + 0.5));
    let total = 0;
    for (let tap = 0; tap < to - from; tap++) {
      const distance = Math.abs((tap + from - centre + 0.5) * (1 / support));
      exact[tap] = distance < 1 ? 1 - distance : 0;
      total += exact[tap] ?? 0;
    }
    for (let tap = 0; tap < to - from; tap++) {
      weights[index * stride + tap] = Math.trunc(0.5 + ((exact[tap] ?? 0) / total) * (1 << PRECISION_BITS));
    }
    first[index] = from;
    count[index] = to - from;
  }
  return { first, count, weights, stride };
}

function resampleRows(pixels: Uint8Array, width: number, height: number, size: number): Uint8Array {
  const { first, count, weights, stride } = coefficientsOf(width, size);
  const out = new Uint8Array(size * height * 3);
  for (let x = 0; x < size; x++) {
    const taps = count[x] as number;
    const from = (first[x] as number) * 3;
    const weightsAt = x * stride;
    for (let y = 0; y < height; y++) {
      let at = y * width * 3 + from;
      let red = 1 << (PRECISION_BITS - 1);
      let green = red;
      let blue = red;
      for (let tap = 0; tap < taps; tap++, at += 3) {
        const weight = weights[weightsAt + tap] as number;
        red += (pixels[at] as number) * weight;
        green += (pixels[at + 1] as number) * weight;
        blue += (pixels[at + 2] as number) * weight;
      }
      const to = (y * size + x) * 3;
      out[to] = red >> PRECISION_BITS;
      out[to + 1] = green >> PRECISION_BITS;
      out[to + 2] = blue >> PRECISION_BITS;
    }
  }
  return out;
}

function resampleColumns(pixels: Uint8Array, width: number, height: number, size: number): Uint8Array {
  const { first, count, weights, stride } = coefficientsOf(height, size);
  const line = width * 3;
  const out = new Uint8Array(line * size);
  const sums = new Int32Array(line);
  for (let y = 0; y < size; y++) {
    sums.fill(1 << (PRECISION_BITS - 1));
    for (let tap = 0; tap < (count[y] as number); tap++) {
      const weight = weights[y * stride + tap] as number;
      const from = ((first[y] as number) + tap) * line;
      for (let x = 0; x < line; x++) sums[x] = (sums[x] as number) + (pixels[from + x] as number) * weight;
    }
    for (let x = 0; x < line; x++) out[y * line + x] = (sums[x] as number) >> PRECISION_BITS;
  }
  return out;
}

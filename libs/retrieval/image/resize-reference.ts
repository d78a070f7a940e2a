import type { RgbImage } from './orientation.ts';

/** OpenCV's INTER_RESIZE_COEF_BITS: weights of bytes have 11 bits of fraction. */
const WEIGHT_ONE = 2048;

/**
 * Resizes to `size` x `size` as `cv2.resize(image, (size, size))` does: bilinear at half-pixel centres, two source pixels per axis for any
 * factor, thus without antialiasing. The arithmetic is that of OpenCV's vectorised code for bytes (modules/imgproc/src/resize.cpp,
 * VResizeLinearVec_32s8u): weights of 11 bits, intermediate sums truncated to 16 bits.
 */
export function resizeReference({ pixels, width, height }: RgbImage, size: number): Uint8Array {
  const horizontal = taps(width, size);
  const vertical = taps(height, size);
  const line = size * 3;
  const out = new Uint8Array(line * size);
  const rows = new RowCache(pixels, width, horizontal, size);
  for (let y = 0; y < size; y++) {
    const source = vertical.source[y] as number;
    const upper = rows.at(Math.max(0, source));
    const lower = rows.at(Math.min(height - 1, source + 1));
    const upperWeight = vertical.near[y] as number;
    const lowerWeight = vertical.far[y] as number;
    for (let x = 0; x < line; x++) {
      const sum = ((upperWeight * ((upper[x] as number) >> 4)) >> 16) + ((lowerWeight * ((lower[x] as number) >> 4)) >> 16);
      out[y * line + x] = (sum + 2) >> 2;
    }
  }
  return out;
}

type Taps = {
  /** The first source pixel of each output pixel; -1 just before the first. The other one is the next. */
  source: Int32Array;
  near: Int32Array;
  far: Int32Array;
};

function taps(length: number, size: number): Taps {
  const source = new Int32Array(size);
  const near = new Int32Array(size);
  const far = new Int32Array(size);
  // OpenCV inverts twice; the last bit of the scale can decide a floor.
  const scale = 1 / (size / length);
  for (let index = 0; index < size; index++) {
    const position = Math.fround((index + 0.5) * scale - 0.5);
    const floor = Math.floor(position);
    const fraction = Math.fround(position - floor);
    source[index] = Math.min(floor, length - 1);
    near[index] = roundHalfToEven(Math.fround(1 - fraction) * WEIGHT_ONE);
    far[index] = roundHalfToEven(fraction * WEIGHT_ONE);
  }
  return { source, near, far };
}

/** The last two source rows, resized horizontally: rows are requested from top to bottom. */
class RowCache {
  readonly #pixels: Uint8Array;
  readonly #width: number;
  readonly #horizontal: Taps;
  readonly #rows: { row: number; sums: Int32Array }[];

  constructor(pixels: Uint8Array, width: number, horizontal: Taps, size: number) {
    this.#pixels = pixels;
    this.#width = width;
    this.#horizontal = horizontal;
    this.#rows = [0, 1].map(() => ({ row: -1, sums: new Int32Array(size * 3) }));
  }

  at(row: number): Int32Array {
    const slot = this.#rows[row % 2] as { row: number; sums: Int32Array };
    if (slot.row !== row) {
      this.#resize(row, slot.sums);
      slot.row = row;
    }
    return slot.sums;
  }

  #resize(row: number, sums: Int32Array): void {
    const { source, near, far } = this.#horizontal;
    const start = row * this.#width * 3;
    for (let x = 0; x < source.length; x++) {
      const position = source[x] as number;
      // Outside the row OpenCV uses the edge pixel with full weight.
      const inside = position >= 0 && position < this.#width - 1;
      const left = start + Math.max(0, position) * 3;
      const right = inside ? left + 3 : left;
      const nearWeight = inside ? (near[x] as number) : WEIGHT_ONE;
      const farWeight = inside ? (far[x] as number) : 0;
      for (let channel = 0; channel < 3; channel++) {
        sums[x * 3 + channel] =
          (this.#pixels[left + channel] as number) * nearWeight + (this.#pixels[right + channel] as number) * farWeight;
      }
    }
  }
}

/** OpenCV's cvRound. */
function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

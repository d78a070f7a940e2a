import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RgbImage } from './orientation.ts';

/** OpenCV's INTER_RESIZE_COEF_BITS: weights of bytes have 11 bits of fraction. */
const WEIGHT_ONE = 2048;
const WASM_PAGE = 65_536;

/** resize-kernels.as, compiled. */
type Kernels = {
  memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  resizeRow(row: number, offsets: number, weights: number, sums: number, size: number): void;
  blendRows(upper: number, lower: number, upperWeight: number, lowerWeight: number, out: number, count: number): void;
};

/** Node has it; only TypeScript's library for browsers declares it. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { exports: Kernels };
};

/** One for this thread: its memory is only scratch space of one call. */
const kernels = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(join(import.meta.dirname, 'resize-kernels.wasm')))).exports;

/**
 * Resizes to `size` x `size` as `cv2.resize(image, (size, size))` does: bilinear at half-pixel centres, two source pixels per axis for any
 * factor, thus without antialiasing. The arithmetic is that of OpenCV's vectorised code for bytes (modules/imgproc/src/resize.cpp,
 * VResizeLinearVec_32s8u): weights of 11 bits, intermediate sums truncated to 16 bits.
 */
export function resizeReference({ pixels, width, height }: RgbImage, size: number): Uint8Array {
  const line = size * 3;
  const out = new Uint8Array(line * size);
  const vertical = taps(height, size);
  const layout = layoutOf(width, size);
  const memory = memoryOf(layout.end);
  writeHorizontalTaps(memory, layout, width, size);
  // The last two source rows that were resized, by their parity: rows are requested from top to bottom.
  const rows = [-1, -1];
  const resized = (row: number): number => {
    const sums = layout.sums[row % 2] as number;
    if (rows[row % 2] !== row) {
      new Uint8Array(memory, layout.row, width * 3).set(pixels.subarray(row * width * 3, (row + 1) * width * 3));
      kernels.resizeRow(layout.row, layout.offsets, layout.weights, sums, size);
      rows[row % 2] = row;
    }
    return sums;
  };
  const blended = new Uint8Array(memory, layout.out, line);
  for (let y = 0; y < size; y++) {
    const source = vertical.source[y] as number;
    const upper = resized(Math.max(0, source));
    const lower = resized(Math.min(height - 1, source + 1));
    kernels.blendRows(upper, lower, vertical.near[y] as number, vertical.far[y] as number, layout.out, line);
    out.set(blended, y * line);
  }
  return out;
}

/** Byte offsets into the kernels' memory. Rows are padded to what the kernels read and write beyond them. */
type Layout = { offsets: number; weights: number; row: number; sums: readonly [number, number]; out: number; end: number };

function layoutOf(width: number, size: number): Layout {
  const weights = size * 4;
  const row = weights + size * 4;
  const upper = row + aligned(width * 3 + 8);
  const sums = aligned(size * 6 + 16);
  const out = upper + 2 * sums;
  return { offsets: 0, weights, row, sums: [upper, upper + sums], out, end: out + aligned(size * 3 + 16) };
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}

function memoryOf(bytes: number): ArrayBuffer {
  const missing = bytes - kernels.memory.buffer.byteLength;
  if (missing > 0) kernels.memory.grow(Math.ceil(missing / WASM_PAGE));
  return kernels.memory.buffer;
}

function writeHorizontalTaps(memory: ArrayBuffer, layout: Layout, width: number, size: number): void {
  const { source, near, far } = taps(width, size);
  const offsets = new Int32Array(memory, layout.offsets, size);
  const weights = new Int16Array(memory, layout.weights, size * 2);
  for (let x = 0; x < size; x++) {
    const position = source[x] as number;
    // Outside the row OpenCV uses the edge pixel with full weight.
    const isInside = position >= 0 && position < width - 1;
    offsets[x] = Math.max(0, position) * 3;
    weights[2 * x] = isInside ? (near[x] as number) : WEIGHT_ONE;
    weights[2 * x + 1] = isInside ? (far[x] as number) : 0;
  }
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

/** OpenCV's cvRound. */
function roundHalfToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

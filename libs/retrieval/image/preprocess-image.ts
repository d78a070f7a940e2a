import type { Preprocessing } from '@cairn/contract';
import sharp, { type Sharp } from 'sharp';
import { type DecodeOptions, decodeImage, inputOptions, PIXEL_LIMIT, renderRaw, requireImage } from './decode-image.ts';
import { readJpegHeader } from './image-header.ts';
import type { RgbImage } from './orientation.ts';
import { orientationOf, turned } from './orientation.ts';
import { resampleTriangle } from './resample-triangle.ts';
import { resizeReference } from './resize-reference.ts';
import { UnreadableImage } from './unreadable-image.ts';

/**
 * For larger factors libvips shrinks with a box filter before the triangle, which blurs. Shrinking in two steps of triangles stays closer
 * to one triangle (mean distance on 1/f noise 0.43 grey levels instead of 0.72), if the second step stays just below the limit.
 */
const TRIANGLE_LIMIT = 4;
const SECOND_STEP = 3.95;

/**
 * Up to this many products of weight and byte (about 2 ms) decoded pixels are resized on the calling thread: another call to libuv's
 * threads can take longer, since it only starts when the event loop is free.
 */
const FEW_PRODUCTS = 2_000_000;

/**
 * An image file as the network's input: `size` x `size` x 3 bytes of RGB, upright, the aspect ratio not kept.
 *
 * `cairn`: antialiased triangle filter. An image with a side shorter than `size` is resized on the calling thread, as Pillow does (libvips
 * enlarges images with an offset of half a pixel: 10 grey levels), as is a small decoded one; otherwise libvips shrinks it on libuv's
 * threads, within 0.3 grey levels of Pillow's `resize(..., BILINEAR)` on average when to more than a quarter, 0.65 below that (from 64 px
 * on, on 1/f noise). JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where at least a factor of two is left to the filter (sharp's
 * `fastShrinkOnLoad: false`).
 *
 * `reference`: `cv2.resize(cv2.imread(...), (size, size))`, on the calling thread ({@link resizeReference}). `reference-filled`: a
 * truncated JPEG is filled with grey, as OpenCV does; otherwise it is rejected.
 *
 * Rejects with {@link UnreadableImage} if the image is at fault (truncated, not an image, too large, too slow), otherwise with the signal's
 * reason.
 */
export async function preprocessImage(
  bytes: Uint8Array,
  { size, preprocessing, ...options }: { size: number; preprocessing: Preprocessing } & DecodeOptions,
): Promise<Uint8Array> {
  const stored = requireImage(bytes) === 'jpeg' ? storedSize(bytes) : null;
  if (preprocessing !== 'cairn') {
    return resizeReference(await decodeImage(bytes, { ...options, fillsTruncated: preprocessing === 'reference-filled' }), size);
  }
  if (stored !== null && Math.min(stored.width, stored.height) >= size) return shrinkJpeg(bytes, stored, size, options);
  const image = await decodeImage(bytes, options);
  if (Math.min(image.width, image.height) < size) return resampleTriangle(image, size);
  return shrinkPixels(image, size, options);
}

/** Stored width and height of a JPEG whose decoding sharp can leave to the resize, or null. */
function storedSize(bytes: Uint8Array): { width: number; height: number } | null {
  const header = readJpegHeader(bytes);
  if (header === null) return null;
  if (header.width * header.height > PIXEL_LIMIT) {
    throw new UnreadableImage(`${header.width} x ${header.height} pixels are more than the limit of ${PIXEL_LIMIT}`);
  }
  if (header.components === 4) return null;
  return { width: header.width, height: header.height };
}

async function shrinkJpeg(
  bytes: Uint8Array,
  { width, height }: { width: number; height: number },
  size: number,
  options: DecodeOptions,
): Promise<Uint8Array> {
  const step = firstStep(width, height, size);
  const pipeline = sharp(bytes, inputOptions).toColourspace('srgb');
  const { data, info } = await renderRaw(resize(pipeline, step.width, step.height), options);
  if (info.channels !== 3) throw new UnreadableImage(`the decoder returned ${info.channels} channels instead of 3`);
  const pixels = await shrinkPixels({ pixels: data, ...step }, size, options);
  // The filter is symmetric: rotating the small square is cheaper than rotating the large picture.
  return turned({ pixels, width: size, height: size }, orientationOf(bytes, 'jpeg')).pixels;
}

/** Shrinks decoded pixels; neither side is shorter than `size`. */
async function shrinkPixels(image: RgbImage, size: number, options: DecodeOptions): Promise<Uint8Array> {
  let { pixels, width, height } = image;
  while (width !== size || height !== size) {
    if (height * (2 * width + size) * 3 <= FEW_PRODUCTS) return resampleTriangle({ pixels, width, height }, size);
    const step = firstStep(width, height, size);
    const pipeline = sharp(pixels, { raw: { width, height, channels: 3 } });
    pixels = (await renderRaw(resize(pipeline, step.width, step.height), options)).data;
    ({ width, height } = step);
  }
  return pixels;
}

/** The size of the next shrink: `size`, or the size that leaves a factor of {@link SECOND_STEP} for the last step. */
function firstStep(width: number, height: number, size: number): { width: number; height: number } {
  if (Math.max(width, height) < TRIANGLE_LIMIT * size) return { width: size, height: size };
  const between = Math.floor(size * SECOND_STEP);
  return { width: Math.min(width, between), height: Math.min(height, between) };
}

function resize(pipeline: Sharp, width: number, height: number): Sharp {
  return pipeline.resize(width, height, { fit: 'fill', kernel: 'linear', fastShrinkOnLoad: false });
}

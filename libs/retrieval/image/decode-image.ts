import sharp, { type OutputInfo, type Sharp } from 'sharp';
import { readJpegHeader, sniffFormat } from './image-header.ts';
import { reasonOf, UnreadableImage } from './unreadable-image.ts';
import { withinTime } from './within-time.ts';

/** An 8-bit RGB image: `pixels` is height x width x 3, dense. */
export type RgbImage = { pixels: Uint8Array; width: number; height: number };

export type DecodeOptions = {
  /** Longest time for one image in milliseconds; past it the image counts as unreadable. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
};

/** The number of pixels above which Pillow calls an image a decompression bomb and refuses it: 2 x MAX_IMAGE_PIXELS. */
export const PIXEL_LIMIT = 178_956_970;

/**
 * How every image is opened. `failOn: 'error'` includes truncated files, which Pillow refuses too. Pixels are taken as
 * sRGB: an embedded colour profile is not applied, as neither Pillow's `convert('RGB')` nor OpenCV's `imread` apply one.
 */
export const inputOptions = { failOn: 'error', limitInputPixels: PIXEL_LIMIT, ignoreIcc: true, sequentialRead: true } as const;

/**
 * Decodes a JPEG, PNG, WebP, GIF (first frame) or TIFF (first page) to upright 8-bit RGB: the EXIF orientation is applied,
 * grey is repeated, alpha is dropped without blending, of 16 bits the upper 8 are kept, CMYK is converted by
 * {@link cmykToRgb}. The pixels are those of Pillow's `exif_transpose` and `convert('RGB')`, and of `cv2.imread`.
 * Rejects with {@link UnreadableImage} where the image is at fault, otherwise with the signal's reason.
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions): Promise<RgbImage> {
  assertImage(bytes);
  const pipeline = sharp(bytes, inputOptions).autoOrient();
  if (isCmyk(bytes)) {
    const cmyk = await renderRaw(pipeline.pipelineColourspace('cmyk').toColourspace('cmyk'), options);
    return { pixels: cmykToRgb(cmyk.data), width: cmyk.info.width, height: cmyk.info.height };
  }
  const { data, info } = await renderRaw(pipeline.toColourspace('srgb').removeAlpha(), options);
  if (info.channels === 3) return { pixels: data, width: info.width, height: info.height };
  throw new UnreadableImage(`the decoder gave ${info.channels} channels instead of 3`);
}

/** Throws {@link UnreadableImage} for what is no image in a format of {@link sniffFormat}. */
export function assertImage(bytes: Uint8Array): void {
  if (bytes.length === 0) throw new UnreadableImage('the file is empty');
  if (sniffFormat(bytes) !== null) return;
  const start = Buffer.from(bytes.subarray(0, 8)).toString('hex');
  throw new UnreadableImage(`not a JPEG, PNG, WebP, GIF or TIFF file (it starts with ${start})`);
}

/** What sharp says when libvips' last error, which all threads share, was cleared by another image that was done in the same moment. */
const NO_REASON = 'Unknown error';

/** Broken images are few, and the next time they mostly say why. */
const TRIES = 5;

/** Runs the pipeline on libuv's threads, within the time limit. */
export async function renderRaw(pipeline: Sharp, options: DecodeOptions): Promise<{ data: Buffer; info: OutputInfo }> {
  for (let left = TRIES; ; left -= 1) {
    const rendered = await render(left === TRIES ? pipeline : pipeline.clone(), options);
    if (!(rendered instanceof UnreadableImage)) return rendered;
    if (rendered.message !== NO_REASON) throw rendered;
    if (left === 1) throw new UnreadableImage('the decoder refuses it and gives no reason', { cause: rendered });
  }
}

async function render(
  pipeline: Sharp,
  { timeoutMs, signal }: DecodeOptions,
): Promise<{ data: Buffer; info: OutputInfo } | UnreadableImage> {
  // sharp's own limit ends the thread's work, ours ends the wait where the decoder does not even report progress. It is one second
  // later, so that an image on which the decoder hangs is told from one that it could give up.
  const seconds = Math.min(3600, Math.ceil(timeoutMs / 1000) + 1);
  const late = () => new UnreadableImage(`decoding took longer than ${timeoutMs / 1000} s`, { isSlow: true });
  const work = () => pipeline.timeout({ seconds }).raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  try {
    return await withinTime(work, { ms: timeoutMs, signal, error: late });
  } catch (error) {
    if (signal?.aborted) throw error;
    return error instanceof UnreadableImage ? error : new UnreadableImage(reasonOf(error), { cause: error });
  }
}

/** JPEG is the only one of the formats in which CMYK photographs occur; TIFF in CMYK is converted by sharp's profile. */
function isCmyk(bytes: Uint8Array): boolean {
  return sniffFormat(bytes) === 'jpeg' && readJpegHeader(bytes)?.components === 4;
}

/** Pillow's conversion (src/libImaging/Convert.c, cmyk2rgb): each channel is (255 - ink) scaled by (255 - black). */
function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4) {
    const light = 255 - (cmyk[from + 3] as number);
    for (let ink = 0; ink < 3; ink++) rgb[to++] = light - divideBy255((cmyk[from + ink] as number) * light);
  }
  return rgb;
}

function divideBy255(product: number): number {
  const rounded = product + 128;
  return ((rounded >> 8) + rounded) >> 8;
}

import { CairnError } from '@cairn/contract';
import sharp, { type OutputInfo, type Sharp } from 'sharp';
import { withinTime } from './decode-pool.ts';
import { type ImageFormat, readJpegHeader, sniffFormat } from './image-header.ts';
import { orientationOf, type RgbImage, readTiffDirectory, type TiffDirectory, turned } from './orientation.ts';
import { reasonOf, UnreadableImage } from './unreadable-image.ts';

export type DecodeOptions = {
  /** Maximum time for one image in milliseconds; after it the image counts as unreadable. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
};

/** The number of pixels above which Pillow rejects an image as a decompression bomb: 2 x MAX_IMAGE_PIXELS. */
export const PIXEL_LIMIT = 178_956_970;

/**
 * Options for opening every image. `failOn: 'error'` includes truncated files, which Pillow rejects too. Pixels are taken as sRGB: an
 * embedded colour profile is not applied, as neither Pillow's `convert('RGB')` nor OpenCV's `imread` apply one. Orientation is handled by
 * our own EXIF reader, as in the trainer.
 */
export const inputOptions = { failOn: 'error', limitInputPixels: PIXEL_LIMIT, ignoreIcc: true, sequentialRead: true } as const;

/**
 * Decodes a JPEG, PNG, WebP, GIF (first frame) or TIFF (first page) to upright 8-bit RGB: the EXIF orientation is applied, grey is
 * repeated, alpha is dropped without blending, of 16 bits the upper 8 are kept, CMYK is converted by {@link cmykToRgb}. The rules are those
 * of docker/trainer/cairn_trainer/decoding.py and are tested on the same files. With `fillsTruncated` a truncated JPEG is read as OpenCV
 * reads it, with the missing part in grey. Rejects with {@link UnreadableImage} if the image is at fault, otherwise with the signal's
 * reason.
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions & { fillsTruncated?: boolean }): Promise<RgbImage> {
  const format = requireImage(bytes);
  const directory = format === 'tiff' ? readTiffDirectory(bytes) : null;
  if (directory !== null) requirePlainTiff(directory);
  const pipeline = sharp(bytes, { ...inputOptions, ...(options.fillsTruncated === true && format === 'jpeg' ? { failOn: 'none' } : {}) });
  const stored = await decodeStored(bytes, pipeline, directory, options);
  return turned(stored, orientationOf(bytes, format));
}

async function decodeStored(
  bytes: Uint8Array,
  pipeline: Sharp,
  directory: TiffDirectory | null,
  options: DecodeOptions,
): Promise<RgbImage> {
  const jpeg = directory === null && sniffFormat(bytes) === 'jpeg' ? readJpegHeader(bytes) : null;
  const isCmyk = jpeg?.components === 4 || directory?.short(photometricTag) === cmykPhotometric;
  if (isCmyk) {
    const { data, info } = await renderRaw(pipeline.pipelineColourspace('cmyk').toColourspace('cmyk'), options);
    return { pixels: cmykToRgb(data), width: info.width, height: info.height };
  }
  const { data, info } = await renderRaw(pipeline.toColourspace('srgb').removeAlpha(), options);
  if (info.channels === 3) return { pixels: data, width: info.width, height: info.height };
  throw new UnreadableImage(`the decoder returned ${info.channels} channels instead of 3`);
}

/** The format of an image. Throws {@link UnreadableImage} for a format unknown to {@link sniffFormat}, and for an animated WebP. */
export function requireImage(bytes: Uint8Array): ImageFormat {
  if (bytes.length === 0) throw new UnreadableImage('the file is empty');
  const format = sniffFormat(bytes);
  // Do not quote the first bytes: a link could lead to another user's file.
  if (format === null) throw new UnreadableImage('not a JPEG, PNG, WebP, GIF or TIFF file');
  if (format === 'webp' && String.fromCharCode(...bytes.subarray(12, 16)) === 'VP8X' && ((bytes[20] ?? 0) & 2) !== 0)
    throw new UnreadableImage('an animated WebP');
  return format;
}

const photometricTag = 262;
const cmykPhotometric = 5;

/** Photometric interpretation, samples and bits of the kinds of TIFF that all readers agree on. */
/** YCbCr, with the compression JPEG. */
const jpegTiff = '6 3 8';
const plainTiffs = ['1 1 8', '1 1 16', '2 3 8', '2 3 16', '2 4 8', '3 1 8', '5 4 8'];

/** None, LZW, JPEG, Deflate, PackBits, the earlier number of Deflate. Builds of libtiff differ in the others. */
const tiffCompressions = [1, 5, 7, 8, 32773, 32946];

function requirePlainTiff(directory: TiffDirectory): void {
  const bits = directory.values(258, 1);
  const [colour = -1] = directory.values(photometricTag, -1);
  const [samples = 1] = directory.values(277, 1);
  const kind = `${colour} ${samples} ${bits[0]}`;
  const isPlain =
    (bits.length === 1 || bits.length === samples) &&
    new Set(bits).size === 1 &&
    (plainTiffs.includes(kind) || (kind === jpegTiff && directory.values(259, 1).join() === '7')) &&
    directory.values(259, 1).every((compression) => tiffCompressions.includes(compression)) &&
    directory.values(284, 1).join() === '1' &&
    [...new Set(directory.values(339, 1))].join() === '1' &&
    // The last of four RGB samples is alpha, not premultiplied.
    (colour !== 2 || samples !== 4 || directory.values(338, 0).join() === '2');
  if (!isPlain) throw new UnreadableImage('a TIFF other than 8-bit grey, palette, RGB, RGBA, CMYK, or 16-bit grey, RGB');
}

/** sharp's message if libvips' last error, which all threads share, was cleared by another image at the same moment. */
const NO_REASON = 'Unknown error';

/** Broken images are rare, and another attempt usually gives the reason. */
const TRIES = 5;

/** Runs the pipeline on libuv's threads, within the time limit. */
export async function renderRaw(pipeline: Sharp, options: DecodeOptions): Promise<{ data: Buffer; info: OutputInfo }> {
  for (let left = TRIES; ; left -= 1) {
    const rendered = await render(left === TRIES ? pipeline : pipeline.clone(), options);
    if (!(rendered instanceof UnreadableImage)) return rendered;
    if (rendered.message !== NO_REASON) throw rendered;
    if (left === 1) throw new UnreadableImage('the decoder rejects it without a reason', { cause: rendered });
  }
}

async function render(
  pipeline: Sharp,
  { timeoutMs, signal }: DecodeOptions,
): Promise<{ data: Buffer; info: OutputInfo } | UnreadableImage> {
  // sharp's own limit ends the thread's work, ours ends the wait if the decoder does not even report progress. It is one second later, to
  // distinguish an image on which the decoder hangs from one that it could abort.
  const seconds = Math.min(3600, Math.ceil(timeoutMs / 1000) + 1);
  const late = () => new UnreadableImage(`decoding took longer than ${timeoutMs / 1000} s`, { isSlow: true });
  const work = () => pipeline.timeout({ seconds }).raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  try {
    return await withinTime(work, { ms: timeoutMs, signal, error: late });
  } catch (error) {
    if (signal?.aborted) throw error;
    // libvips has no error code for it: only the message distinguishes a machine fault from an image fault.
    if (error instanceof Error && /out of memory|cannot allocate memory/i.test(error.message))
      throw new CairnError('program_failed', `Out of memory while decoding an image: ${reasonOf(error)}`, { cause: error });
    return error instanceof UnreadableImage ? error : new UnreadableImage(reasonOf(error), { cause: error });
  }
}

/** OpenCV's conversion (modules/imgcodecs/src/utils.cpp, icvCvt_CMYK2BGR_8u_C4C3R): each channel is (255 - ink) scaled by (255 - black) / 256. */
function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4) {
    const light = 255 - (cmyk[from + 3] as number);
    for (let ink = 0; ink < 3; ink++) rgb[to++] = light - (((cmyk[from + ink] as number) * light) >> 8);
  }
  return rgb;
}

/** What people look at needs fewer pixels than what is extracted. About 400 MB decoded, for the formats that are not decoded row by row. */
const maxPixels = 100_000_000;
const quality = 82;

/**
 * An image file as a JPEG to look at: upright, neither side longer than `maxSide`, never enlarged. The first frame, without metadata.
 * Rejects with {@link UnreadableImage} for what an extraction would leave out as well (not an image, truncated, too slow), and for more
 * than 100 million pixels.
 */
export async function makePicture(bytes: Uint8Array, { maxSide, timeoutMs }: { maxSide: number; timeoutMs: number }): Promise<Buffer> {
  requireImage(bytes);
  try {
    return await sharp(bytes, { ...inputOptions, limitInputPixels: maxPixels })
      .autoOrient()
      .resize(maxSide, maxSide, { fit: 'inside', withoutEnlargement: true })
      .removeAlpha()
      .toColourspace('srgb')
      .timeout({ seconds: Math.ceil(timeoutMs / 1000) })
      .jpeg({ quality })
      .toBuffer();
  } catch (error) {
    throw new UnreadableImage(reasonOf(error), { cause: error });
  }
}

import sharp from 'sharp';
import { inputOptions, requireImage } from './decode-image.ts';
import { reasonOf, UnreadableImage } from './unreadable-image.ts';

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

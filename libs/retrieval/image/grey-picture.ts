import sharp from 'sharp';

/** A JPEG that every decoder can decode: what fails on it is not the fault of an image. */
export function greyPicture(): Promise<Buffer> {
  return sharp({ create: { width: 64, height: 48, channels: 3, background: { r: 128, g: 120, b: 112 } } })
    .jpeg()
    .toBuffer();
}

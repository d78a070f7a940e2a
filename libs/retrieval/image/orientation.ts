import { exifOfJpeg, type ImageFormat } from './image-header.ts';
import { readTiffDirectory } from './tiff-directory.ts';

/** An 8-bit RGB image: `pixels` is height x width x 3, dense. */
export type RgbImage = { pixels: Uint8Array; width: number; height: number };

const orientationTag = 0x0112;

/**
 * The EXIF orientation, 1 to 8; 1 if there is none. As OpenCV reads it (modules/imgcodecs/src/exif.cpp): 16 bits at the position of the
 * value, whatever its type; in a JPEG only from the first APP1 segment. XMP is ignored.
 */
export function orientationOf(bytes: Uint8Array, format: ImageFormat): number {
  const value = readTiffDirectory(exifOf(bytes, format)).short(orientationTag) ?? 1;
  return value >= 1 && value <= 8 ? value : 1;
}

function exifOf(bytes: Uint8Array, format: ImageFormat): Uint8Array {
  switch (format) {
    case 'jpeg':
      return exifOfJpeg(bytes);
    case 'png':
      return exifOfPng(bytes);
    case 'webp':
      return exifOfWebp(bytes);
    case 'tiff':
      return bytes;
    case 'gif':
      return new Uint8Array();
  }
}

function exifOfPng(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 8 <= view.byteLength; ) {
    const length = view.getUint32(at);
    // "eXIf"
    if (view.getUint32(at + 4) === 0x65584966) return bytes.subarray(at + 8, at + 8 + length);
    at += 12 + length;
  }
  return new Uint8Array();
}

function exifOfWebp(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const length = view.getUint32(at + 4, true);
    // "EXIF"
    if (view.getUint32(at) === 0x45584946) {
      const block = bytes.subarray(at + 8, at + 8 + length);
      return String.fromCharCode(...block.subarray(0, 6)) === 'Exif\0\0' ? block.subarray(6) : block;
    }
    at += 8 + length + (length % 2);
  }
  return new Uint8Array();
}

/** The picture rotated according to its orientation. */
export function turned({ pixels, width, height }: RgbImage, orientation: number): RgbImage {
  if (orientation === 1) return { pixels, width, height };
  const isTransposed = orientation >= 5;
  const fromBottom = [3, 4, 7, 8].includes(orientation);
  const fromRight = [2, 3, 6, 7].includes(orientation);
  const [outWidth, outHeight] = isTransposed ? [height, width] : [width, height];
  const out = new Uint8Array(pixels.length);
  for (let y = 0, to = 0; y < outHeight; y += 1) {
    const row = fromBottom ? outHeight - 1 - y : y;
    for (let x = 0; x < outWidth; x += 1, to += 3) {
      const column = fromRight ? outWidth - 1 - x : x;
      const from = 3 * (isTransposed ? column * width + row : row * width + column);
      out[to] = pixels[from] as number;
      out[to + 1] = pixels[from + 1] as number;
      out[to + 2] = pixels[from + 2] as number;
    }
  }
  return { pixels: out, width: outWidth, height: outHeight };
}

import { exifOfJpeg, type ImageFormat } from './image-header.ts';

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

/** The first directory of a TIFF or EXIF block: the offset of each tag's 12-byte entry. */
export type TiffDirectory = {
  /** The 16 bits at the position of an entry's value, whatever its type; undefined if there is no such tag. */
  short(tag: number): number | undefined;
  /** The values of an entry of type BYTE, SHORT or LONG; `[whenAbsent]` if there is no such tag, empty if it is invalid. */
  values(tag: number, whenAbsent: number): number[];
};

const mostValues = 16;

/** Empty if the block is not a TIFF; a truncated block gives the entries before its end. */
export function readTiffDirectory(block: Uint8Array): TiffDirectory {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const little = view.byteLength >= 2 && view.getUint16(0) === 0x4949;
  const entries = new Map<number, number>();
  if (isTiff(view)) {
    const start = view.getUint32(4, little);
    const count = start + 2 <= view.byteLength ? view.getUint16(start, little) : 0;
    for (let entry = 0, at = start + 2; entry < count && at + 12 <= view.byteLength; entry += 1, at += 12) {
      const tag = view.getUint16(at, little);
      if (!entries.has(tag)) entries.set(tag, at);
    }
  }
  return {
    short(tag) {
      const at = entries.get(tag);
      return at === undefined ? undefined : view.getUint16(at + 8, little);
    },
    values(tag, whenAbsent) {
      const at = entries.get(tag);
      if (at === undefined) return [whenAbsent];
      const type = view.getUint16(at + 2, little);
      const count = view.getUint32(at + 4, little);
      const size = { 1: 1, 3: 2, 4: 4 }[type] ?? 0;
      if (size === 0 || count > mostValues) return [];
      const place = count * size <= 4 ? at + 8 : view.getUint32(at + 8, little);
      if (place + count * size > view.byteLength) return [];
      const read = (n: number): number => {
        const offset = place + n * size;
        return size === 1 ? view.getUint8(offset) : size === 2 ? view.getUint16(offset, little) : view.getUint32(offset, little);
      };
      return Array.from({ length: count }, (_, n) => read(n));
    },
  };
}

function isTiff(view: DataView): boolean {
  if (view.byteLength < 8) return false;
  const mark = view.getUint32(0);
  return mark === 0x49492a00 || mark === 0x4d4d002a;
}

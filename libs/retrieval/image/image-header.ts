/** What the first bytes of an image file tell, read without a decoder. */
export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff';

/** `width` and `height` are as stored: `orientation` (EXIF, 1 to 8) is not applied to them. */
export type JpegHeader = { width: number; height: number; components: number; orientation: number };

/**
 * The format by its magic bytes, or null. Only formats that Pillow and OpenCV read the same way are named: what is
 * extracted must be what was trained on, and a vector image or a PDF never is.
 */
export function sniffFormat(bytes: Uint8Array): ImageFormat | null {
  const text = String.fromCharCode(...bytes.subarray(0, 12));
  if (text.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (text.startsWith('RIFF') && text.slice(8) === 'WEBP') return 'webp';
  if (text.startsWith('GIF87a') || text.startsWith('GIF89a')) return 'gif';
  if (text.startsWith('II*\0') || text.startsWith('MM\0*')) return 'tiff';
  return null;
}

/**
 * Size, colour components and orientation of a JPEG, or null where there is no frame header (the decoder then says what is
 * wrong). Reading them here spares a trip to the decoder's threads: while ONNX Runtime blocks the event loop a decode goes
 * on, but a second step that starts after it would have to wait. ISO/IEC 10918-1, annex B.
 */
export function readJpegHeader(bytes: Uint8Array): JpegHeader | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let orientation = 1;
  let offset = 2;
  while (offset + 4 <= view.byteLength) {
    if (view.getUint8(offset) !== 0xff) return null;
    const marker = view.getUint8(offset + 1);
    // 0xff may be repeated as a fill byte before a marker.
    if (marker === 0xff) {
      offset += 1;
      continue;
    }
    // Start of scan: the frame header would have come before.
    if (marker === 0xda) return null;
    // TEM and RSTn stand alone.
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) {
      offset += 2;
      continue;
    }
    const length = view.getUint16(offset + 2);
    if (isStartOfFrame(marker)) {
      if (length < 8 || offset + 10 > view.byteLength) return null;
      const height = view.getUint16(offset + 5);
      const width = view.getUint16(offset + 7);
      const components = view.getUint8(offset + 9);
      return width > 0 && height > 0 ? { width, height, components, orientation } : null;
    }
    if (marker === 0xe1) orientation = exifOrientation(bytes.subarray(offset + 4, offset + 2 + length)) ?? orientation;
    offset += 2 + length;
  }
  return null;
}

/** SOF0 to SOF15, less DHT (c4), JPG (c8) and DAC (cc), which share the range. */
function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

/** The tag Orientation (0x0112) of the first directory of an APP1 segment, or null. EXIF 2.32, section 4.6. */
function exifOrientation(segment: Uint8Array): number | null {
  const view = new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
  // "Exif\0\0", then a TIFF header.
  if (view.byteLength < 14 || view.getUint32(0) !== 0x45786966 || view.getUint16(4) !== 0) return null;
  const littleEndian = view.getUint16(6) === 0x4949;
  const directory = 6 + view.getUint32(10, littleEndian);
  if (directory + 2 > view.byteLength) return null;
  const entries = view.getUint16(directory, littleEndian);
  for (let entry = 0; entry < entries; entry++) {
    const at = directory + 2 + 12 * entry;
    if (at + 12 > view.byteLength) return null;
    if (view.getUint16(at, littleEndian) !== 0x0112) continue;
    const value = view.getUint16(at + 8, littleEndian);
    return value >= 1 && value <= 8 ? value : null;
  }
  return null;
}

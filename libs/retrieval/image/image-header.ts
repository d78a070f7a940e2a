/** Information from the first bytes of an image file, read without a decoder. */
export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'gif' | 'tiff';

/** `width` and `height` are as stored, before rotation. */
export type JpegHeader = { width: number; height: number; components: number };

type JpegSegment = { marker: number; content: Uint8Array };

/**
 * The format by its magic bytes, or null. Only formats that Pillow and OpenCV read the same way are included: extraction must see the same
 * images as training, never a vector image or a PDF.
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
 * Size and colour components of a JPEG, or null if there is no frame header (the decoder then reports the error). Reading them here avoids
 * a call to the decoder's threads: while ONNX Runtime blocks the event loop a decode continues, but a second step after it would have to
 * wait. ISO/IEC 10918-1, annex B.
 */
export function readJpegHeader(bytes: Uint8Array): JpegHeader | null {
  for (const { marker, content } of jpegSegments(bytes)) {
    if (!isStartOfFrame(marker)) continue;
    if (content.length < 6) return null;
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    const [height, width, components] = [view.getUint16(1), view.getUint16(3), view.getUint8(5)];
    return width > 0 && height > 0 ? { width, height, components } : null;
  }
  return null;
}

/** The EXIF block of a JPEG's first APP1 segment, after "Exif", 0, 0; empty without one. */
export function exifOfJpeg(bytes: Uint8Array): Uint8Array {
  for (const { marker, content } of jpegSegments(bytes)) if (marker === 0xe1) return content.subarray(6);
  return new Uint8Array();
}

/** The marker segments up to the scan, after which the frame header cannot come. */
function* jpegSegments(bytes: Uint8Array): Generator<JpegSegment> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 2; offset + 4 <= view.byteLength; ) {
    if (view.getUint8(offset) !== 0xff) return;
    const marker = view.getUint8(offset + 1);
    // 0xff may be repeated as a fill byte before a marker.
    if (marker === 0xff) offset += 1;
    else if (marker === 0xda) return;
    // TEM and RSTn have no segment.
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)) offset += 2;
    else {
      const length = view.getUint16(offset + 2);
      yield { marker, content: bytes.subarray(offset + 4, offset + 2 + length) };
      offset += 2 + length;
    }
  }
}

/** SOF0 to SOF15, without DHT (c4), JPG (c8) and DAC (cc), which share the range. */
function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

import { crc32, deflateSync } from 'node:zlib';

/** A PNG of one colour; or one whose header announces pixels that are not there. */
export function plainPng({ width, height, colour = [200, 40, 40], hasPixels = true }: PngOptions): Buffer {
  const size = Buffer.alloc(13);
  size.writeUInt32BE(width, 0);
  size.writeUInt32BE(height, 4);
  // 8 bits of RGB.
  size.set([8, 2, 0, 0, 0], 8);
  const line = Buffer.alloc(1 + width * 3);
  for (let x = 0; x < width; x++) line.set(colour, 1 + x * 3);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const pixels = deflateSync(hasPixels ? Buffer.concat(Array.from({ length: height }, () => line)) : Buffer.alloc(0));
  return Buffer.concat([signature, chunk('IHDR', size), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))]);
}
type PngOptions = { width: number; height: number; colour?: readonly [number, number, number]; hasPixels?: boolean };

function chunk(type: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), content]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(content.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

import fc from 'fast-check';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { jpegOf, picture, sharpOf } from '../fixtures/pictures.ts';
import { readJpegHeader, sniffFormat } from './image-header.ts';
import { orientationOf } from './orientation.ts';

const image = picture(30, 20);

test.each(['jpeg', 'png', 'webp', 'gif', 'tiff'] as const)('a %s file is known by its first bytes', async (format) => {
  expect(sniffFormat(await sharpOf(image).toFormat(format).toBuffer())).toBe(format);
});

test('anything else has no format', () => {
  for (const text of ['', 'GIF', '<svg xmlns="http://www.w3.org/2000/svg"/>', '%PDF-1.7', 'RIFF....WAVE']) {
    expect(sniffFormat(Buffer.from(text))).toBeNull();
  }
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])('a JPEG has its stored size and its orientation %i', async (orientation) => {
  const bytes = await jpegOf(image, orientation);
  expect(readJpegHeader(bytes)).toEqual({ width: 30, height: 20, components: 3 });
  expect(orientationOf(bytes, 'jpeg')).toBe(orientation);
});

test('a JPEG without EXIF is upright; grey has one component, CMYK four, a progressive one reads alike', async () => {
  expect(readJpegHeader(await jpegOf(image))).toEqual({ width: 30, height: 20, components: 3 });
  const grey = await sharpOf(image).greyscale().toColourspace('b-w').jpeg().toBuffer();
  expect(readJpegHeader(grey)).toMatchObject({ components: 1 });
  const cmyk = await sharpOf(image).toColourspace('cmyk').jpeg().toBuffer();
  expect(readJpegHeader(cmyk)).toMatchObject({ components: 4 });
  const progressive = await sharpOf(image).jpeg({ progressive: true }).toBuffer();
  expect(readJpegHeader(progressive)).toMatchObject({ width: 30, height: 20, components: 3 });
});

test('tables before the frame header, and fill bytes between markers, are passed over', async () => {
  const bytes = await jpegOf(image);
  const table = Buffer.concat([Buffer.of(0xff, 0xc4, 0x00, 0x13), Buffer.alloc(17)]);
  const moved = Buffer.concat([bytes.subarray(0, 2), table, Buffer.of(0xff), bytes.subarray(2)]);
  expect(readJpegHeader(moved)).toMatchObject({ width: 30, height: 20 });
});

test('no cut and no wrong byte makes it throw', async () => {
  const bytes = await sharp(await jpegOf(image, 6))
    .withMetadata()
    .toBuffer();
  fc.assert(
    fc.property(fc.nat(bytes.length), fc.nat(bytes.length - 1), fc.nat(255), (length, at, value) => {
      const broken = Buffer.from(bytes.subarray(0, length));
      if (at < length) broken[at] = value;
      const header = readJpegHeader(broken);
      const orientation = orientationOf(broken, 'jpeg');
      expect((header === null || header.width > 0) && orientation >= 1 && orientation <= 8).toBe(true);
    }),
    { numRuns: 500 },
  );
});

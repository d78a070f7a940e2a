import sharp from 'sharp';
import { expect, test, vi } from 'vitest';
import { formulaPicture, jpegOf, meanDistance, picture, pngOf, sharpOf } from '../fixtures/pictures.ts';
import { decodeImage } from './decode-image.ts';
import type { RgbImage } from './orientation.ts';

const image = formulaPicture(24, 16);
const limits = { timeoutMs: 10_000 };

test('an RGB file gives its pixels', async () => {
  expect(await decodeImage(await pngOf(image), limits)).toEqual({ ...image, pixels: Buffer.from(image.pixels) });
});

test('grey is repeated in all channels, with or without alpha', async () => {
  const grey = Buffer.from(image.pixels.filter((_, index) => index % 3 === 0));
  const expected = Buffer.from([...grey].flatMap((value) => [value, value, value]));
  const raw = sharp(grey, { raw: { width: 24, height: 16, channels: 1 } }).toColourspace('b-w');
  expect((await decodeImage(await raw.clone().png().toBuffer(), limits)).pixels).toEqual(expected);
  const withAlpha = await raw.clone().ensureAlpha(0.3).png().toBuffer();
  expect((await sharp(withAlpha).metadata()).channels).toBe(2);
  expect((await decodeImage(withAlpha, limits)).pixels).toEqual(expected);
});

test('alpha is dropped: what is transparent keeps its colour', async () => {
  const transparent = await sharpOf(image).ensureAlpha(0).png().toBuffer();
  expect((await sharp(transparent).metadata()).hasAlpha).toBe(true);
  expect((await decodeImage(transparent, limits)).pixels).toEqual(Buffer.from(image.pixels));
});

test('of 16 bits the upper 8 are kept', async () => {
  const values = Uint16Array.from(image.pixels, (value) => value * 256 + 255);
  const deep = await sharp(values, { raw: { width: 24, height: 16, channels: 3 } })
    .toColourspace('rgb16')
    .png()
    .toBuffer();
  expect((await sharp(deep).metadata()).depth).toBe('ushort');
  expect((await decodeImage(deep, limits)).pixels).toEqual(Buffer.from(image.pixels));
});

test('CMYK becomes RGB by the ink left out, as OpenCV does it', async () => {
  // Image.new('CMYK', (8, 8), (51, 102, 153, 51)), saved by Pillow as JPEG.
  const file = Buffer.from(
    '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUVFQwPFxgWFBgSFBUU' +
      '/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAcI/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBNAFkASwAAPwCyyGOllv/Z',
    'base64',
  );
  expect(await sharp(file).metadata()).toMatchObject({ space: 'cmyk', channels: 4 });
  const { pixels } = await decodeImage(file, limits);
  // Light less ink x light / 256, rounded down; light is 255 - black.
  expect([...pixels.subarray(0, 3)]).toEqual([164, 123, 83]);
});

test('an embedded colour profile changes nothing', async () => {
  const tagged = await sharpOf(image).withIccProfile('p3').png().toBuffer();
  expect((await sharp(tagged).metadata()).icc).toBeDefined();
  const untagged = await sharp(tagged, { ignoreIcc: true }).png().toBuffer();
  expect((await sharp(untagged).metadata()).icc).toBeUndefined();
  expect((await decodeImage(tagged, limits)).pixels).toEqual((await decodeImage(untagged, limits)).pixels);
});

/** The corners of a picture, clockwise from the upper left one. */
const corners = ({ pixels, width, height }: RgbImage) =>
  [0, width - 1, width * height - 1, width * (height - 1)].map((index) => pixels[index * 3] ?? 0);

// Where each corner of the stored picture is shown, by the EXIF orientation.
test.each([
  [1, [0, 1, 2, 3]],
  [2, [1, 0, 3, 2]],
  [3, [2, 3, 0, 1]],
  [4, [3, 2, 1, 0]],
  [5, [0, 3, 2, 1]],
  [6, [3, 0, 1, 2]],
  [7, [2, 1, 0, 3]],
  [8, [1, 2, 3, 0]],
])('orientation %i is applied', async (orientation, order) => {
  const quadrants = { ...picture(40, 24), pixels: new Uint8Array(40 * 24 * 3) };
  const shades = [20, 90, 160, 230];
  quadrants.pixels.forEach((_, index) => {
    const [x, y] = [Math.floor(index / 3) % 40, Math.floor(index / 120)];
    quadrants.pixels[index] = (y < 12 ? [shades[0], shades[1]] : [shades[3], shades[2]])[x < 20 ? 0 : 1] ?? 0;
  });
  const shown = await decodeImage(await jpegOf(quadrants, orientation), limits);
  expect([shown.width, shown.height]).toEqual(orientation < 5 ? [40, 24] : [24, 40]);
  expect(
    meanDistance(
      Uint8Array.from(corners(shown)),
      Uint8Array.from(order, (corner) => shades[corner] ?? 0),
    ),
  ).toBeLessThan(3);
});

test.each(['webp', 'gif', 'tiff'] as const)('a %s file is decoded', async (format) => {
  const plain = { pixels: new Uint8Array(24 * 16 * 3).fill(120), width: 24, height: 16 };
  const file = await sharpOf(plain).toFormat(format).toBuffer();
  expect(meanDistance((await decodeImage(file, limits)).pixels, plain.pixels)).toBeLessThan(2);
});

/** What sharp says of an image when another one that was done in the same moment cleared libvips' last error. No test can time that. */
const withoutReason = (times: number) => {
  const toBuffer = vi.spyOn(sharp.prototype, 'toBuffer');
  for (let left = times; left > 0; left -= 1) toBuffer.mockRejectedValueOnce(new Error('Unknown error'));
};

test('a reason that other images took away is asked for until it is there, or given up in the end', async () => {
  const file = await jpegOf(picture(60, 40));
  const cut = file.subarray(0, Math.floor(file.length / 2));
  withoutReason(4);
  await expect(decodeImage(cut, { timeoutMs: 20_000 })).rejects.toThrow('premature end of JPEG image');
  withoutReason(5);
  await expect(decodeImage(cut, { timeoutMs: 20_000 })).rejects.toThrow('the decoder rejects it without a reason');
});

import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { jpegOf, meanDistance, picture, pngOf, sharpOf } from '../fixtures/pictures.ts';
import { decodeImage } from './decode-image.ts';
import { preprocessImage } from './preprocess-image.ts';
import { resampleTriangle } from './resample-triangle.ts';
import { resizeReference } from './resize-reference.ts';

const cairn = { preprocessing: 'cairn', timeoutMs: 20_000 } as const;

describe('cairn', () => {
  test.each([
    [400, 300, 128, 0.35],
    [640, 427, 224, 0.35],
    [400, 400, 64, 0.65],
    [500, 333, 64, 0.65],
    [129, 513, 64, 0.65],
    [1100, 830, 200, 0.65],
  ])('shrinks %i x %i to %i px within %f grey levels of one triangle filter', async (width, height, size, limit) => {
    const file = await jpegOf(picture(width, height));
    const expected = resampleTriangle(await decodeImage(file, cairn), size);
    const pixels = await preprocessImage(file, { ...cairn, size });
    expect(pixels.length).toBe(size * size * 3);
    expect(meanDistance(pixels, expected)).toBeLessThan(limit);
  });

  test('shrinks a large picture that is not a JPEG as closely', async () => {
    const file = await sharpOf(picture(900, 700)).ensureAlpha(0.5).png({ compressionLevel: 1 }).toBuffer();
    const pixels = await preprocessImage(file, { ...cairn, size: 200 });
    expect(meanDistance(pixels, resampleTriangle(await decodeImage(file, cairn), 200))).toBeLessThan(0.65);
  });

  test.each([
    [100, 80, 96],
    [90, 300, 128],
    [40, 30, 64],
  ])('grows %i x %i to %i px without a shift', async (width, height, size) => {
    for (const file of [await pngOf(picture(width, height)), await jpegOf(picture(width, height))]) {
      const expected = resampleTriangle(await decodeImage(file, cairn), size);
      expect(meanDistance(await preprocessImage(file, { ...cairn, size }), expected)).toBe(0);
    }
  });

  test('a turned JPEG gives the same as the upright picture', async () => {
    const turned = await jpegOf(picture(500, 300), 6);
    const upright = await sharp(turned).autoOrient().png().toBuffer();
    const [fromTurned, fromUpright] = await Promise.all([turned, upright].map((file) => preprocessImage(file, { ...cairn, size: 128 })));
    expect(meanDistance(fromTurned ?? new Uint8Array(), fromUpright ?? new Uint8Array())).toBeLessThan(0.5);
  });

  test('a long turned JPEG is shrunk along its long side as it is shown', async () => {
    const file = await jpegOf(picture(1400, 260), 8);
    const expected = resampleTriangle(await decodeImage(file, cairn), 128);
    expect(meanDistance(await preprocessImage(file, { ...cairn, size: 128 }), expected)).toBeLessThan(0.65);
  });

  test('a CMYK JPEG is converted before it is resized', async () => {
    const file = await sharpOf(picture(300, 200)).toColourspace('cmyk').jpeg().toBuffer();
    const expected = resampleTriangle(await decodeImage(file, cairn), 64);
    expect(meanDistance(await preprocessImage(file, { ...cairn, size: 64 }), expected)).toBeLessThan(0.65);
  });

  test.each([1, 2, 10])('reaches even a side of %i px', async (size) => {
    const pixels = await preprocessImage(await jpegOf(picture(300, 200)), { ...cairn, size });
    expect(pixels.length).toBe(size * size * 3);
  });
});

test('reference is bilinear without antialiasing on the upright pixels', async () => {
  const file = await jpegOf(picture(300, 200), 8);
  const expected = resizeReference(await decodeImage(file, cairn), 64);
  expect(meanDistance(await preprocessImage(file, { ...cairn, preprocessing: 'reference', size: 64 }), expected)).toBe(0);
});

describe('an image that is at fault is refused with its reason', () => {
  test.each([0.02, 0.1, 0.5, 0.9, 0.99])('cut after the share %f, as JPEG, progressive JPEG, PNG and WebP', async (share) => {
    const pipeline = sharpOf(picture(300, 200));
    const files = await Promise.all([
      pipeline.clone().jpeg().toBuffer(),
      pipeline.clone().jpeg({ progressive: true }).toBuffer(),
      pipeline.clone().png().toBuffer(),
      pipeline.clone().webp().toBuffer(),
    ]);
    for (const file of files) {
      for (const preprocessing of ['cairn', 'reference'] as const) {
        const cut = file.subarray(0, Math.floor(file.length * share));
        const failure = await preprocessImage(cut, { ...cairn, preprocessing, size: 64 }).catch((error: unknown) => error);
        expect(failure).toMatchObject({ name: 'UnreadableImage', message: expect.stringMatching(/^[^\n]{5,200}$/) });
      }
    }
  });

  test.each([
    ['an empty file', '', 'the file is empty'],
    ['a web page', '<!DOCTYPE html>', 'not a JPEG, PNG, WebP, GIF or TIFF file'],
    ['a drawing', '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', 'not a JPEG'],
  ])('%s', async (_, content, reason) => {
    await expect(preprocessImage(Buffer.from(content), { ...cairn, size: 64 })).rejects.toThrow(reason);
  });

  test('many at once, each with a reason', async () => {
    const file = await jpegOf(picture(300, 200));
    const cut = file.subarray(0, Math.floor(file.length / 2));
    const outcomes = await Promise.allSettled(Array.from({ length: 24 }, () => preprocessImage(cut, { ...cairn, size: 64 })));
    const reasons = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.message : 'none'));
    expect(new Set(reasons.filter((reason) => reason !== 'the decoder rejects it without a reason'))).toEqual(
      new Set(['VipsJpeg: premature end of JPEG image']),
    );
  });

  test('too many pixels, known from the header', async () => {
    const file = await jpegOf(picture(16, 16));
    // The frame header's height and width.
    const frame = file.indexOf(Buffer.of(0xff, 0xc0, 0x00, 0x11));
    file.writeUInt16BE(20_000, frame + 5);
    file.writeUInt16BE(20_000, frame + 7);
    await expect(preprocessImage(file, { ...cairn, size: 64 })).rejects.toThrow(
      '20000 x 20000 pixels are more than the limit of 178956970',
    );
  });

  test('one that takes too long', async () => {
    const file = await sharp({ create: { width: 3000, height: 2000, channels: 3, background: 'red' } })
      .png({ compressionLevel: 1 })
      .toBuffer();
    const failure = await preprocessImage(file, { ...cairn, size: 64, timeoutMs: 1 }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: 'UnreadableImage', message: 'decoding took longer than 0.001 s', isSlow: true });
  });
});

test('an abort ends it with its own reason, not as the fault of the image', async () => {
  const controller = new AbortController();
  const reason = new Error('superseded');
  const work = preprocessImage(await jpegOf(picture(600, 600)), { ...cairn, size: 64, signal: controller.signal });
  controller.abort(reason);
  await expect(work).rejects.toBe(reason);
});

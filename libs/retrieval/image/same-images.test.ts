import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Preprocessing } from '@cairn/contract';
import sharp, { type Sharp } from 'sharp';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { meanDistance } from '../fixtures/pictures.ts';
import { decodeImage } from './decode-image.ts';
import type { RgbImage } from './orientation.ts';
import { preprocessImage } from './preprocess-image.ts';

// Extraction sees what training sees: docker/trainer/tests/test_decoding.py asks the same of the same files.
const entry = z.union([
  z.strictObject({ base64: z.base64(), refused: z.literal(true) }),
  z.strictObject({ base64: z.base64(), shows: z.string(), turn: z.number().default(1), distance: z.number().default(0) }),
]);
const file = new URL('../../../docker/trainer/tests/images.json', import.meta.url);
const images = new Map(Object.entries(z.record(z.string(), entry).parse(JSON.parse(readFileSync(file, 'utf8')))));

function bytesOf(name: string): Buffer {
  const image = images.get(name);
  if (image === undefined) throw new Error(`${fileURLToPath(file)} has no image ${name}`);
  return Buffer.from(image.base64, 'base64');
}
const limits = { timeoutMs: 20_000 };

/** sharp's own turns, by name. */
const turns: Record<number, (image: Sharp) => Sharp> = {
  1: (image) => image,
  2: (image) => image.flop(),
  3: (image) => image.rotate(180),
  4: (image) => image.flip(),
  5: (image) => image.flop().rotate(270),
  6: (image) => image.rotate(90),
  7: (image) => image.flop().rotate(90),
  8: (image) => image.rotate(270),
};

async function pictureOf(name: string, turn: number): Promise<RgbImage> {
  const turned = turns[turn]?.(sharp(bytesOf(name)));
  if (turned === undefined) throw new Error(`no turn ${turn}`);
  const { data, info } = await turned.raw().toBuffer({ resolveWithObject: true });
  return { pixels: data, width: info.width, height: info.height };
}

test.each([...images])('%s is seen as training sees it', async (name, wanted) => {
  if ('refused' in wanted) {
    await expect(decodeImage(bytesOf(name), limits)).rejects.toMatchObject({ name: 'UnreadableImage' });
    await expect(preprocessImage(bytesOf(name), { ...limits, size: 16, preprocessing: 'cairn' })).rejects.toMatchObject({
      name: 'UnreadableImage',
    });
    return;
  }
  const picture = await pictureOf(wanted.shows, wanted.turn);
  const seen = await decodeImage(bytesOf(name), limits);
  expect([seen.width, seen.height]).toEqual([picture.width, picture.height]);
  expect(meanDistance(seen.pixels, picture.pixels)).toBeLessThanOrEqual(wanted.distance);
  // What the network gets, by the way of large images that are shrunk as they are decoded, and by that of small ones.
  const png = await sharp(picture.pixels, { raw: { width: picture.width, height: picture.height, channels: 3 } })
    .png()
    .toBuffer();
  for (const size of [16, 64]) {
    const [got, want] = await Promise.all(
      [bytesOf(name), png].map((file) => preprocessImage(file, { ...limits, size, preprocessing: 'cairn' })),
    );
    expect(meanDistance(got ?? new Uint8Array(), want ?? new Uint8Array())).toBeLessThanOrEqual(wanted.distance + 1);
  }
});

test('a JPEG that was cut off is filled by reference-filled alone', async () => {
  const cut = bytesOf('cut-off.jpg');
  const shrink = (bytes: Buffer, preprocessing: Preprocessing) => preprocessImage(bytes, { ...limits, size: 32, preprocessing });
  for (const preprocessing of ['cairn', 'reference'] as const)
    await expect(shrink(cut, preprocessing)).rejects.toMatchObject({ name: 'UnreadableImage' });
  const [filled, whole] = await Promise.all([shrink(cut, 'reference-filled'), shrink(bytesOf('plain.jpg'), 'reference-filled')]);
  const above = 10 * 32 * 3;
  expect(meanDistance(filled.subarray(0, above), whole.subarray(0, above))).toBe(0);
  // Grey in place of what is missing.
  expect([...filled.subarray(-8 * 3)]).toEqual(Array(24).fill(128));
});

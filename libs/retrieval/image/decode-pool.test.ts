import { afterAll, expect, test } from 'vitest';
import { jpegOf, picture } from '../fixtures/pictures.ts';
import { createDecodePool } from './decode-pool.ts';
import { preprocessImage } from './preprocess-image.ts';

const settings = { imageSize: 16, preprocessing: 'reference' } as const;
const pool = createDecodePool({ threads: 1, ...settings });
afterAll(() => pool.close());

const slots = (count: number) => Array.from({ length: count }, () => new Uint8Array(new SharedArrayBuffer(16 * 16 * 3)));

test('an image is decoded into its slot as on one thread, and one that is not an image rejects with the reason', async () => {
  const [slot = new Uint8Array(), other = new Uint8Array()] = slots(2);
  const bytes = await jpegOf(picture(40, 30));
  // A part of a larger buffer, which stays usable.
  const file = new Uint8Array([1, 2, ...bytes]);
  await expect(pool.preprocess(Buffer.from('<html>'), other)).rejects.toThrow('not a JPEG');
  await pool.preprocess(file.subarray(2), slot);
  expect(slot).toEqual(new Uint8Array(await preprocessImage(bytes, { size: 16, preprocessing: 'reference', timeoutMs: 10_000 })));
  expect(file.subarray(2)).toEqual(new Uint8Array(bytes));
});

test('images that were handed over are decoded while the event loop is blocked', async () => {
  const bytes = await jpegOf(picture(40, 30));
  const targets = slots(20);
  const pending = targets.map((slot) => pool.preprocess(bytes, slot));
  // As ONNX Runtime does. No turn of the loop until the last one is there, or much too late.
  const never = new Int32Array(new SharedArrayBuffer(4));
  const isDecoded = () => targets.every((slot) => slot.some((value) => value > 0));
  for (let waits = 0; waits < 3000 && !isDecoded(); waits++) Atomics.wait(never, 0, 0, 10);
  expect(isDecoded()).toBe(true);
  await Promise.all(pending);
});

test('closing it rejects what is pending and what comes later', async () => {
  const own = createDecodePool({ threads: 1, ...settings });
  const [slot = new Uint8Array()] = slots(1);
  const pending = own.preprocess(await jpegOf(picture(2000, 2000)), slot).catch((error: unknown) => error);
  await own.close();
  expect(await pending).toMatchObject({ message: 'The decoder is closed' });
  await expect(own.preprocess(new Uint8Array(3), slot)).rejects.toThrow('closed');
});

test('a thread that ends rejects its images and all later ones, with the reason', async () => {
  const broken = createDecodePool({ threads: 1, imageSize: 0.5, preprocessing: 'reference' });
  const [slot = new Uint8Array()] = slots(1);
  for (let images = 0; images < 2; images++)
    await expect(broken.preprocess(await jpegOf(picture(40, 30)), slot)).rejects.toMatchObject({
      code: 'program_failed',
      message: expect.stringContaining('A decoder thread ended'),
    });
  await broken.close();
});

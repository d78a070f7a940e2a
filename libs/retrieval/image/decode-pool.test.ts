import { readFile } from 'node:fs/promises';
import { afterAll, expect, test } from 'vitest';
import { jpegOf, picture } from '../fixtures/pictures.ts';
import { createDecodePool, withinTime } from './decode-pool.ts';
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

const late = () => new Error('late');

const never = () => new Promise<never>(() => undefined);

/** Keeps the event loop from turning, as ONNX Runtime does. */
function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('work in time gives its result, and its failure as it is', async () => {
  await expect(withinTime(async () => 7, { ms: 1000, signal: undefined, error: late })).resolves.toBe(7);
  const failure = new Error('broken');
  await expect(withinTime(() => Promise.reject(failure), { ms: 1000, signal: undefined, error: late })).rejects.toBe(failure);
});

test('work that exceeds the limit is abandoned and its signal is aborted', async () => {
  let told: AbortSignal | undefined;
  const work = (signal: AbortSignal) => {
    told = signal;
    return never();
  };
  await expect(withinTime(work, { ms: 5, signal: undefined, error: late })).rejects.toThrow('late');
  expect(told?.aborted).toBe(true);
});

test('a result that came in while the event loop was blocked counts, though the limit is over', async () => {
  // A file is read in several steps that each need the loop; one step is enough here, so the file is opened beforehand.
  const { open } = await import('node:fs/promises');
  const file = await open(new URL(import.meta.url).pathname, 'r');
  const work = withinTime(() => file.read(Buffer.alloc(10), 0, 10, 0), { ms: 20, signal: undefined, error: late });
  block(100);
  await expect(work).resolves.toMatchObject({ bytesRead: 10 });
  await file.close();
});

test('an abort gives its reason, before the work and during it', async () => {
  const reason = new Error('superseded');
  await expect(withinTime(never, { ms: 1000, signal: AbortSignal.abort(reason), error: late })).rejects.toBe(reason);
  const controller = new AbortController();
  const work = withinTime(never, { ms: 10_000, signal: controller.signal, error: late });
  controller.abort(reason);
  await expect(work).rejects.toBe(reason);
});

test('the signal is passed on to work that listens', async () => {
  const controller = new AbortController();
  const reading = withinTime((signal) => readFile('/dev/stdin', { signal }).catch(never), {
    ms: 10_000,
    signal: controller.signal,
    error: late,
  });
  controller.abort(new Error('stop'));
  await expect(reading).rejects.toThrow('stop');
});

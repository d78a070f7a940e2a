import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { withinTime } from './within-time.ts';

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

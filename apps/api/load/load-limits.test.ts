import { expect, test } from 'vitest';
import { createGate } from './gate.ts';
import { createSharedReads } from './load-limits.ts';

test('callers share a read that is still waiting for its turn, and a caller after it began gets a new read', async () => {
  const reads = createSharedReads(createGate({ name: 'reads', concurrency: 1, waiting: 100, waitMs: 60_000 }));
  let written = 0;
  let done = 0;
  const release = Promise.withResolvers<void>();
  const slow = reads('slow', () => release.promise);
  const read = () =>
    reads('value', async () => {
      done += 1;
      return written;
    });
  const early = [read(), read(), read()];
  written = 1;
  const late = read();
  release.resolve();
  await slow;
  expect(await Promise.all([...early, late])).toEqual([1, 1, 1, 1]);
  expect(done).toBe(1);
  written = 2;
  expect(await read()).toBe(2);
});

test('a failed read fails for all callers that share it, and the next read starts anew', async () => {
  const reads = createSharedReads(createGate({ name: 'reads', concurrency: 1, waiting: 100, waitMs: 60_000 }));
  await expect(reads('key', () => Promise.reject(new Error('away')))).rejects.toThrow('away');
  expect(await reads('key', async () => 'here')).toBe('here');
});

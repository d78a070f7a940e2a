import { expect, test } from 'vitest';
import { pause, sleep } from './sleep.ts';

test('an aborted sleep ends at once with the reason of the abort', async () => {
  const controller = new AbortController();
  const reason = new Error('closing');
  const sleeping = sleep(60_000, controller.signal);
  controller.abort(reason);
  await expect(sleeping).rejects.toBe(reason);
});

test('a sleep under an aborted signal does not start', async () => {
  await expect(sleep(60_000, AbortSignal.abort(new Error('already over')))).rejects.toThrow('already over');
});

test('a sleep ends after its time', async () => {
  await expect(sleep(1)).resolves.toBeUndefined();
});

test('a pause ends after its time, and without an error as soon as its signal is aborted', async () => {
  const controller = new AbortController();
  await expect(pause(1, controller.signal)).resolves.toBeUndefined();
  const pausing = pause(60_000, controller.signal);
  controller.abort(new Error('closing'));
  await expect(pausing).resolves.toBeUndefined();
  await expect(pause(60_000, controller.signal)).resolves.toBeUndefined();
});

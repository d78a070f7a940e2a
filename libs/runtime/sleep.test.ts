import { expect, test } from 'vitest';
import { sleep } from './sleep.ts';

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

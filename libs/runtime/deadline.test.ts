import { once } from 'node:events';
import { expect, test } from 'vitest';
import { deadline } from './deadline.ts';

test('the deadline passes on its own with a TimeoutError', async () => {
  const signal = deadline(new AbortController().signal, 5);
  // The timer of a deadline keeps no process alive; this one does while the test waits.
  const alive = setTimeout(() => undefined, 5000);
  if (!signal.aborted) await once(signal, 'abort');
  clearTimeout(alive);
  expect(signal.reason).toMatchObject({ name: 'TimeoutError' });
});

test("the caller's signal ends it earlier, with the caller's reason", () => {
  const controller = new AbortController();
  const signal = deadline(controller.signal, 60_000);
  const reason = new Error('superseded');
  controller.abort(reason);
  expect(signal.reason).toBe(reason);
});

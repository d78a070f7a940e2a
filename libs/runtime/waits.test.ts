import { once } from 'node:events';
import { expect, test } from 'vitest';
import { backoff, deadline, inParallel, pause, sleep, untilAborted } from './waits.ts';

test('the deadline passes by itself with a TimeoutError', async () => {
  const signal = deadline(new AbortController().signal, 5);
  // The timer of a deadline does not keep a process alive; this one does while the test waits.
  const alive = setTimeout(() => undefined, 5000);
  if (!signal.aborted) await once(signal, 'abort');
  clearTimeout(alive);
  expect(signal.reason).toMatchObject({ name: 'TimeoutError' });
});

test("the caller's signal ends it early, with the caller's reason", () => {
  const controller = new AbortController();
  const signal = deadline(controller.signal, 60_000);
  const reason = new Error('superseded');
  controller.abort(reason);
  expect(signal.reason).toBe(reason);
});

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

const waits = (random: () => number) => [0, 1, 2, 3, 4, 50].map((attempt) => backoff({ attempt, baseMs: 100, maxMs: 1000, random }));

test('the wait doubles with each failed attempt and stays under the limit', () => {
  expect(waits(() => 1)).toEqual([100, 200, 400, 800, 1000, 1000]);
});

test('the jitter removes at most half of the wait', () => {
  expect(waits(() => 0)).toEqual([50, 100, 200, 400, 500, 500]);
});

test('work is awaited until it ends or the signal is aborted, whichever comes first', async () => {
  const controller = new AbortController();
  expect(await untilAborted(Promise.resolve(1), controller.signal)).toBe(1);
  await expect(untilAborted(Promise.reject(new Error('broken')), controller.signal)).rejects.toThrow('broken');
  const waiting = untilAborted(new Promise(() => undefined), controller.signal);
  controller.abort(new Error('superseded'));
  await expect(waiting).rejects.toThrow('superseded');
  await expect(untilAborted(Promise.resolve(1), controller.signal)).rejects.toThrow('superseded');
});

test('at most the allowed number of items run at a time, and all are done', async () => {
  const done: number[] = [];
  let atWork = 0;
  let most = 0;
  await inParallel([1, 2, 3, 4, 5, 6].values(), 2, async (item) => {
    atWork += 1;
    most = Math.max(most, atWork);
    await Promise.resolve();
    atWork -= 1;
    done.push(item);
  });
  expect(done.toSorted()).toEqual([1, 2, 3, 4, 5, 6]);
  expect(most).toBe(2);
});

test('the first failure is thrown after the running items have ended, and no new item begins', async () => {
  const begun: number[] = [];
  const slow = Promise.withResolvers<void>();
  let isSlowDone = false;
  const all = inParallel([1, 2, 3, 4].values(), 2, async (item) => {
    begun.push(item);
    if (item === 1) throw new Error('no');
    await slow.promise;
    isSlowDone = true;
  });
  const failed = expect(all).rejects.toThrow('no');
  slow.resolve();
  await failed;
  expect([begun, isSlowDone]).toEqual([[1, 2], true]);
});

test('onFailure is called once, at the first failure', async () => {
  let calls = 0;
  const fail = async () => Promise.reject(new Error('no'));
  const hasten = () => {
    calls += 1;
  };
  await expect(inParallel([1, 2, 3].values(), 3, fail, hasten)).rejects.toThrow('no');
  expect(calls).toBe(1);
});

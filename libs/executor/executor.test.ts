import { expect, test } from 'vitest';
import { parseQuantity } from './container-settings.ts';
import { oneAtATime, overdue } from './executor.ts';

test('work for one key waits for the work before it, even when that fails; another key does not', async () => {
  const queue = oneAtATime();
  const finished: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = queue.run('a', async () => {
    await gate.promise;
    finished.push('first');
    throw new Error('broken');
  });
  const second = queue.run('a', async () => void finished.push('second'));
  await queue.run('b', async () => void finished.push('other'));
  expect(finished).toEqual(['other']);
  const failed = expect(first).rejects.toThrow('broken');
  gate.resolve();
  await failed;
  await second;
  expect(finished).toEqual(['other', 'first', 'second']);
});

test('settled waits for work in progress and does not throw', async () => {
  const queue = oneAtATime();
  const gate = Promise.withResolvers<void>();
  const failed = expect(queue.run('a', () => gate.promise)).rejects.toThrow('late');
  let isSettled = false;
  const settled = queue.settled().then(() => {
    isSettled = true;
  });
  await Promise.resolve();
  expect(isSettled).toBe(false);
  gate.reject(new Error('late'));
  await Promise.all([failed, settled]);
});

const pool = { deadlineSeconds: 60, graceSeconds: 20 };

test('an attempt is overdue after its deadline, its grace period and a margin', () => {
  expect(overdue(pool, 1_000, 85_999)).toBeNull();
  expect(overdue(pool, 1_000, 90_000)).toEqual({
    signal: 'deadline_exceeded',
    since: 86_000,
    message: '60 s, and its grace period is over',
  });
});

test('an attempt without a deadline, or not started, never is', () => {
  expect(overdue({ graceSeconds: 20 }, 0, 1e15)).toBeNull();
  expect(overdue(pool, null, 1e15)).toBeNull();
});

test.each([
  ['8', 8],
  ['500m', 0.5],
  ['64Gi', 64 * 2 ** 30],
  ['1.5G', 1.5e9],
  ['1e3', 1000],
  ['128k', 128_000],
])('%s is %d', (text, value) => expect(parseQuantity(text)).toBe(value));

test.each(['', 'Gi', '64 Gi', '-1', '5x'])('"%s" is not a quantity', (text) => expect(parseQuantity(text)).toBeNaN());

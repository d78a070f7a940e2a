import { expect, test } from 'vitest';
import { oneAtATime } from './one-at-a-time.ts';

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

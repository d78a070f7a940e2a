import { expect, test } from 'vitest';
import { inParallel } from './in-parallel.ts';

test('as many items as are allowed are at work at a time, and all are done', async () => {
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

test('the first failure is thrown after what has begun has ended, and nothing new begins', async () => {
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

test('what hastens the end is called once, at the first failure', async () => {
  let calls = 0;
  const fail = async () => Promise.reject(new Error('no'));
  const hasten = () => {
    calls += 1;
  };
  await expect(inParallel([1, 2, 3].values(), 3, fail, hasten)).rejects.toThrow('no');
  expect(calls).toBe(1);
});

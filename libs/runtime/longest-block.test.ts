import { expect, onTestFinished, test } from 'vitest';
import { watchLongestBlock } from './longest-block.ts';

/** Lets timers and the histogram's samples run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 30));

function compute(ms: number): void {
  const cpu = process.threadCpuUsage();
  while ((process.threadCpuUsage(cpu).user + process.threadCpuUsage(cpu).system) / 1000 < ms);
}

function sleepBlocked(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('the longest block is reported until a whole window has passed without it', async () => {
  const watch = watchLongestBlock();
  onTestFinished(() => watch.close());
  const forgetful = watchLongestBlock({ windowMs: 300 });
  onTestFinished(() => forgetful.close());
  await turn();
  compute(150);
  await turn();
  compute(20);
  await turn();
  // However long these turns take on a busy machine, they are within a window.
  expect(watch.blockedMs()).toBeGreaterThan(140);
  expect(watch.busyMs()).toBeGreaterThan(140);
  await expect.poll(() => forgetful.busyMs(), { timeout: 10_000, interval: 50 }).toBeLessThan(140);
  expect(watch.busyMs()).toBeGreaterThan(140);
});

test('a loop that waits for a processor or a disk is blocked and not busy', async () => {
  const watch = watchLongestBlock();
  onTestFinished(() => watch.close());
  await turn();
  sleepBlocked(200);
  await turn();
  expect(watch.blockedMs()).toBeGreaterThan(180);
  expect(watch.busyMs()).toBeLessThan(100);
});

import { expect, test } from 'vitest';
import { createStop, deadlineReason, StopError } from './stop.ts';

test('a stop leaves the grace and ends as preempted', () => {
  let now = 1000;
  const stop = createStop(() => now);
  expect(stop.remainingMs()).toBe(Number.POSITIVE_INFINITY);
  stop.ask({ reason: 'the node is drained', graceSeconds: 30 });
  now += 10_000;
  expect(stop.remainingMs()).toBe(20_000);
  expect(stop.asked.reason).toBeInstanceOf(StopError);
  expect(stop.ended.aborted).toBe(false);
  expect(stop.outcome('stopped at step 4')).toEqual({ outcome: 'preempted', message: 'stopped at step 4 (the node is drained)' });
});

test('a cancellation wins over every other reason, whichever came first, and the shortest grace counts', () => {
  const first = createStop(() => 0);
  first.ask({ reason: 'SIGTERM', graceSeconds: 25 });
  first.ask({ reason: 'cancelled by ann', graceSeconds: 60 });
  const second = createStop(() => 0);
  second.ask({ reason: 'cancelled by ann', graceSeconds: 60 });
  second.ask({ reason: 'SIGTERM', graceSeconds: 25 });
  for (const stop of [first, second]) {
    expect(stop.outcome('stopped')).toEqual({ outcome: 'cancelled', message: 'stopped (cancelled by ann)' });
    expect(stop.remainingMs()).toBe(25_000);
  }
});

test('a stop at the deadline is a failure, unless it was cancelled too; a SIGTERM that follows changes nothing', () => {
  const stop = createStop();
  stop.ask({ reason: deadlineReason, graceSeconds: 25 });
  stop.ask({ reason: 'SIGTERM', graceSeconds: 25 });
  expect(stop.outcome('stopped at step 4')).toEqual({
    outcome: 'failed',
    cause: 'deadline',
    code: 'deadline_exceeded',
    message: 'stopped at step 4 (it ran as long as its pool allows)',
  });
  stop.ask({ reason: 'cancelled by ann', graceSeconds: 60 });
  expect(stop.outcome('stopped')).toMatchObject({ outcome: 'cancelled' });
});

test('the end of an attempt aborts both signals with its reason', () => {
  const stop = createStop();
  const reason = new Error('superseded');
  stop.end(reason);
  expect(stop.asked.reason).toBe(reason);
  expect(stop.ended.reason).toBe(reason);
});

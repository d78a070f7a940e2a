import { CairnError } from '@cairn/contract';
import { expect, test } from 'vitest';
import { failureOf, failureOfProgram } from './failure.ts';
import { createStop, StopError, type StopRequest } from './stop.ts';

const deadline: StopRequest = { cause: 'deadline', reason: 'it reached the time limit of its pool', graceSeconds: 25 };
const signal: StopRequest = { cause: 'interrupted', reason: 'SIGTERM', graceSeconds: 25 };
const cancel: StopRequest = { cause: 'cancelled', reason: 'ann has seen enough', graceSeconds: 60 };
const preempted: StopRequest = { cause: 'preempted', reason: 'cancelled places are needed by 512_all', graceSeconds: 60 };

test('a stop leaves the grace period and ends as preempted', () => {
  let now = 1000;
  const stop = createStop(() => now);
  expect(stop.remainingMs()).toBe(Number.POSITIVE_INFINITY);
  stop.ask({ ...signal, graceSeconds: 30 });
  now += 10_000;
  expect(stop.remainingMs()).toBe(20_000);
  expect(stop.asked.reason).toBeInstanceOf(StopError);
  expect(stop.ended.aborted).toBe(false);
  expect(stop.outcome('stopped at step 4')).toEqual({ outcome: 'preempted', message: 'stopped at step 4 (SIGTERM)' });
});

test('a cancellation takes precedence over every other cause, whichever came first, and the shortest grace period counts', () => {
  const first = createStop(() => 0);
  first.ask(signal);
  first.ask(cancel);
  const second = createStop(() => 0);
  second.ask(cancel);
  second.ask(signal);
  for (const stop of [first, second]) {
    expect(stop.outcome('stopped')).toEqual({ outcome: 'cancelled', message: 'stopped (ann has seen enough)' });
    expect(stop.remainingMs()).toBe(25_000);
  }
});

test('the cause decides, not the text of the reason', () => {
  const stop = createStop();
  stop.ask(preempted);
  expect(stop.outcome('stopped')).toMatchObject({ outcome: 'preempted' });
  const other = createStop();
  other.ask({ cause: 'step_failed', reason: 'the step failed: data', graceSeconds: 1 });
  expect(other.outcome('stopped')).toMatchObject({ outcome: 'cancelled' });
});

test('a cause from the control plane replaces that of an earlier signal', () => {
  const stop = createStop();
  stop.ask(signal);
  stop.ask(preempted);
  expect(stop.outcome('stopped')).toEqual({ outcome: 'preempted', message: `stopped (${preempted.reason})` });
});

test('a stop at the deadline is a failure, unless it was cancelled too; a later SIGTERM changes nothing', () => {
  const stop = createStop();
  stop.ask(deadline);
  stop.ask(signal);
  expect(stop.outcome('stopped at step 4')).toEqual({
    outcome: 'failed',
    cause: 'deadline',
    code: 'deadline_exceeded',
    message: 'stopped at step 4 (it reached the time limit of its pool)',
  });
  stop.ask(cancel);
  expect(stop.outcome('stopped')).toMatchObject({ outcome: 'cancelled' });
});

test('the end of an attempt aborts both signals with its reason', () => {
  const stop = createStop();
  const reason = new Error('superseded');
  stop.end(reason);
  expect(stop.asked.reason).toBe(reason);
  expect(stop.ended.reason).toBe(reason);
});

test.each([
  [new CairnError('bad_row', 'train.csv line 3'), 'data', 'bad_row'],
  [new CairnError('model_mismatch', 'keys differ'), 'user', 'model_mismatch'],
  [new CairnError('corrupt_artifact', 'sha256 differs'), 'infrastructure', 'corrupt_artifact'],
  [new CairnError('storage_full', 'no space'), 'infrastructure', 'storage_full'],
  [Object.assign(new Error('write failed'), { code: 'ENOSPC' }), 'infrastructure', 'storage_full'],
  [new TypeError('x is undefined'), 'infrastructure', 'internal'],
  ['a string', 'infrastructure', 'internal'],
])('%s has the cause %s and the code %s', (error, cause, code) => {
  expect(failureOf(error)).toMatchObject({ outcome: 'failed', cause, code });
});

test.each([
  ['too_many_bad_images', 'data'],
  ['training_diverged', 'user'],
  ['invalid_configuration', 'user'],
  ['unsafe_file', 'user'],
  ['unreadable_file', 'user'],
  ['program_failed', 'infrastructure'],
  ['a_code_of_the_future', 'infrastructure'],
])("a program's failure %s has the cause %s", (code, cause) => {
  expect(failureOfProgram(code, 'why')).toEqual({ outcome: 'failed', cause, code, message: 'why' });
});

import type { Hint } from '@cairn/contract';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createHintCoalescer } from './feed.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function coalesce() {
  const told: Hint[] = [];
  const coalescer = createHintCoalescer(1_000, (hint) => told.push(hint));
  return { told, ...coalescer };
}
const progress = (stepId: string): Hint => ({ topic: 'run:a', runId: 'a', stepId, what: 'progress' });

test('the first hint is sent at once, later ones within the second as one at its end', () => {
  const { told, push } = coalesce();
  push(progress('1'));
  expect(told).toHaveLength(1);
  for (let n = 0; n < 50; n += 1) push(progress('1'));
  vi.advanceTimersByTime(999);
  expect(told).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(told).toHaveLength(2);
  vi.advanceTimersByTime(5_000);
  expect(told).toHaveLength(2);
});

test('a stream of hints is sent once a second', () => {
  const { told, push } = coalesce();
  for (let ms = 0; ms < 10_000; ms += 100) {
    push(progress('1'));
    vi.advanceTimersByTime(100);
  }
  expect(told.length).toBeGreaterThanOrEqual(10);
  expect(told.length).toBeLessThanOrEqual(11);
});

test('steps and kinds do not wait for each other', () => {
  const { told, push } = coalesce();
  for (const hint of [progress('1'), progress('2'), { ...progress('1'), what: 'logs' as const }]) push(hint);
  expect(told).toHaveLength(3);
});

test('hints about several runs are merged into one without a run', () => {
  const { told, push } = coalesce();
  const run = (runId: string): Hint => ({ topic: 'runs', runId, what: 'run' });
  for (const id of ['a', 'b', 'b']) push(run(id));
  for (const id of ['c', 'd']) push(run(id));
  vi.advanceTimersByTime(1_000);
  expect(told).toEqual([run('a'), { topic: 'runs', what: 'run' }]);
});

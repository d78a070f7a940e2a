import type { Hint } from '@cairn/contract';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createHintCoalescer } from './feed.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function coalesce() {
  const emitted: Hint[] = [];
  const coalescer = createHintCoalescer(1_000, (hint) => emitted.push(hint));
  return { emitted, ...coalescer };
}
const progress = (stepId: string): Hint => ({ topic: 'run:a', runId: 'a', stepId, what: 'progress' });

test('the first hint is sent at once, later ones within the second as one at its end', () => {
  const { emitted, push } = coalesce();
  push(progress('1'));
  expect(emitted).toHaveLength(1);
  for (let n = 0; n < 50; n += 1) push(progress('1'));
  vi.advanceTimersByTime(999);
  expect(emitted).toHaveLength(1);
  vi.advanceTimersByTime(1);
  expect(emitted).toHaveLength(2);
  vi.advanceTimersByTime(5_000);
  expect(emitted).toHaveLength(2);
});

test('a stream of hints is sent once a second', () => {
  const { emitted, push } = coalesce();
  for (let ms = 0; ms < 10_000; ms += 100) {
    push(progress('1'));
    vi.advanceTimersByTime(100);
  }
  expect(emitted.length).toBeGreaterThanOrEqual(10);
  expect(emitted.length).toBeLessThanOrEqual(11);
});

test('steps and kinds do not wait for each other', () => {
  const { emitted, push } = coalesce();
  for (const hint of [progress('1'), progress('2'), { ...progress('1'), what: 'logs' as const }]) push(hint);
  expect(emitted).toHaveLength(3);
});

test('hints about several runs are merged into one without a run', () => {
  const { emitted, push } = coalesce();
  const run = (runId: string): Hint => ({ topic: 'runs', runId, what: 'run' });
  for (const id of ['a', 'b', 'b']) push(run(id));
  for (const id of ['c', 'd']) push(run(id));
  vi.advanceTimersByTime(1_000);
  expect(emitted).toEqual([run('a'), { topic: 'runs', what: 'run' }]);
});

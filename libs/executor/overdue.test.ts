import { expect, test } from 'vitest';
import { overdue } from './overdue.ts';

const pool = { deadlineSeconds: 60, graceSeconds: 20 };

test('an attempt is overdue when its deadline is over, and then its grace, and then a moment', () => {
  expect(overdue(pool, 1_000, 85_999)).toBeNull();
  expect(overdue(pool, 1_000, 90_000)).toEqual({
    signal: 'deadline_exceeded',
    since: 86_000,
    message: '60 s, and its grace is over',
  });
});

test('what has no deadline, or has not started, never is', () => {
  expect(overdue({ graceSeconds: 20 }, 0, 1e15)).toBeNull();
  expect(overdue(pool, null, 1e15)).toBeNull();
});

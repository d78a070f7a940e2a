import { expect, test } from 'vitest';
import { overdue } from './overdue.ts';

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

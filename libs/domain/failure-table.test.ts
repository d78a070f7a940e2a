import { readFileSync } from 'node:fs';
import { failureSignal } from '@cairn/contract';
import { describe, expect, test } from 'vitest';
import { assess, exhaustedCause, type FailureRow, failureTable, retryBudgets, retryDelayMs } from './index.ts';

const began = 1_000_000;
const finding = (signal: keyof typeof failureTable, message = '') => ({ signal, since: began, message });
const after = (seconds: number, silent = false) => ({ now: began + seconds * 1000, silent });

describe('the failure table', () => {
  test.each(failureSignal.options)('%s: its action agrees with the retry budget of its cause', (signal) => {
    const row: FailureRow = failureTable[signal];
    if (row.action === 'wait') expect(row.graceMs).toBe(Number.POSITIVE_INFINITY);
    else expect(row.action === 'fail').toBe(retryBudgets[row.cause].retries === 0);
  });
});

describe('docs/operations.md', () => {
  const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const does = { wait: 'waits', fail: 'fails the step', retry: 'retries', retry_elsewhere: 'retries on another node' };

  test.each(failureSignal.options)('documents %s as the table has it', (signal) => {
    const row: FailureRow = failureTable[signal];
    const grace = row.graceMs > 0 && Number.isFinite(row.graceMs) ? ` after ${row.graceMs / 60_000} min` : '';
    const silent = row.onlyWhenSilent ? ', if the attempt is silent too' : '';
    expect(page).toContain(`| \`${signal}\` | ${row.sentence} | ${row.cause} | ${does[row.action]}${grace}${silent} |`);
  });
});

describe('assess', () => {
  test('a pod that no node can hold waits forever', () => {
    expect(assess(finding('unschedulable'), after(1e6, true)).over).toBe(false);
  });

  test('an image that cannot be pulled fails the step after three minutes, as an error of the user', () => {
    expect(assess(finding('image_pull'), after(179)).over).toBe(false);
    expect(assess(finding('image_pull', 'manifest unknown'), after(180))).toEqual({
      over: true,
      action: 'fail',
      next: null,
      failure: { cause: 'user', code: 'image_not_pulled', message: 'its image cannot be pulled: manifest unknown' },
    });
  });

  test('an invalid image name fails at once', () => {
    expect(assess(finding('image_name_invalid'), after(0)).over).toBe(true);
  });

  test('a missing Secret has 60 s to appear', () => {
    expect(assess(finding('container_configuration'), after(59)).over).toBe(false);
    expect(assess(finding('container_configuration'), after(60)).over).toBe(true);
  });

  test('a node that does not answer is lost only when the attempt is silent too', () => {
    expect(assess(finding('node_silent'), after(119, true)).over).toBe(false);
    expect(assess(finding('node_silent'), after(3600, false)).over).toBe(false);
    expect(assess(finding('node_silent'), after(120, true)).failure).toMatchObject({ cause: 'infrastructure', code: 'node_lost' });
    expect(assess(finding('node_silent'), after(120, true)).over).toBe(true);
  });

  test('the next action is announced with its time while it can still be averted', () => {
    expect(assess(finding('image_pull'), after(1)).next).toBe('its step fails at 00:19 UTC');
    expect(assess(finding('image_registry_busy'), after(1)).next).toBe('a new attempt replaces it at 00:31 UTC');
    expect(assess(finding('node_silent'), after(3600)).next).toBe(
      'a new attempt replaces it on another node at 00:18 UTC, unless it reports',
    );
    expect(assess(finding('unschedulable'), after(1)).next).toBeNull();
  });

  test('a preemption costs no retries', () => {
    const { failure } = assess(finding('preempted'), after(0));
    expect(retryBudgets[failure.cause].retries).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('the retry policy', () => {
  test('allows a few retries for infrastructure failures, none for user errors, and any number for preemptions', () => {
    expect(exhaustedCause({ infrastructure: 5, preemption: 500 })).toBeNull();
    expect(exhaustedCause({ infrastructure: 6 })).toBe('infrastructure');
    expect(exhaustedCause({ user: 1 })).toBe('user');
  });

  test('doubles the delay each time, up to a limit', () => {
    expect([1, 2, 3, 30].map((nth) => retryDelayMs('infrastructure', nth))).toEqual([250, 500, 1000, 60_000]);
  });
});

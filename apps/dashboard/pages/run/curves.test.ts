import { idFor } from '@cairn/client/testing';
import { expect, test } from 'vitest';
import { breaks, positions, smooth } from './curves.ts';

test('smoothing has no bias at the start, follows the mean, and passes gaps on', () => {
  expect(smooth([2, 2, 2], 0.9)).toEqual([expect.closeTo(2, 12), expect.closeTo(2, 12), expect.closeTo(2, 12)]);
  expect(smooth([0, 1], 0.5)).toEqual([0, expect.closeTo(2 / 3, 12)]);
  expect(smooth([4, null, 4], 0.5)).toEqual([4, null, 4]);
  expect(smooth([1, 5], 0)).toEqual([1, 5]);
});

test('a curve and the places where attempts continue it are on the same axis', () => {
  const series = { name: 'loss', steps: [10, 20], values: [2, 1], times: [100, 200], total: 2 };
  const attempt = { id: idFor('att', 1), ordinal: 1, resumedFrom: null, firstStep: 1, lastStep: 15, startedAt: null, endedAt: null };
  const attempts = [attempt, { ...attempt, ordinal: 2, resumedFrom: 10, firstStep: 11, startedAt: '1970-01-01T00:02:30.000Z' }];
  const read = (x: 'step' | 'epoch' | 'time') => [positions(series, x, 5), breaks(attempts, x, 5)];
  expect(read('step')).toEqual([[10, 20], [{ at: 10, ordinal: 2 }]]);
  expect(read('epoch')).toEqual([[2, 4], [{ at: 2, ordinal: 2 }]]);
  expect(read('time')).toEqual([[100, 200], [{ at: 150, ordinal: 2 }]]);
});

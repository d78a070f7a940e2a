import { idFor } from '@cairn/client/testing';
import { expect, test } from 'vitest';
import { smooth } from '../../parts/curve-kinds.ts';
import { chainCurves } from './curves.ts';

test('smoothing has no bias at the start, follows the mean, and passes gaps on', () => {
  expect(smooth([2, 2, 2], 0.9)).toEqual([expect.closeTo(2, 12), expect.closeTo(2, 12), expect.closeTo(2, 12)]);
  expect(smooth([0, 1], 0.5)).toEqual([0, expect.closeTo(2 / 3, 12)]);
  expect(smooth([4, null, 4], 0.5)).toEqual([4, null, 4]);
  expect(smooth([1, 5], 0)).toEqual([1, 5]);
});

test('stages follow each other on one axis, with marks where a stage begins and where an attempt continues', () => {
  const attempt = { id: idFor('att', 1), ordinal: 1, resumedFrom: null, firstStep: 1, lastStep: 15, startedAt: null, endedAt: null };
  const resumed = { ...attempt, ordinal: 2, resumedFrom: 10, firstStep: 11, startedAt: '1970-01-01T00:02:30.000Z' };
  const first = { name: 'loss', steps: [10, 20], values: [2, 1], times: [100, 200], total: 2 };
  const second = { name: 'loss', steps: [4, 8], values: [4, 3], times: [300, 400], total: 2 };
  const stages = [
    { name: 'low', series: [first], attempts: [attempt, resumed], stepsPerEpoch: 5 },
    { name: 'high', series: [second], attempts: [attempt], stepsPerEpoch: 2 },
  ];
  const read = (x: 'step' | 'epoch' | 'time') => {
    const { curves, marks } = chainCurves(stages, x, 0);
    return [curves[0]?.xs, marks.map(({ at, label }) => `${label} at ${at}`)];
  };
  expect(read('step')).toEqual([
    [10, 20, 20, 24, 28],
    ['low at 0', 'attempt 2 at 10', 'high at 20'],
  ]);
  expect(read('epoch')).toEqual([
    [2, 4, 4, 6, 8],
    ['low at 0', 'attempt 2 at 2', 'high at 4'],
  ]);
  expect(read('time')).toEqual([
    [100, 200, 300, 300, 400],
    ['low at 100', 'attempt 2 at 150', 'high at 300'],
  ]);
  const [curve] = chainCurves(stages, 'step', 0.5).curves;
  expect(curve?.values).toEqual([2, 1, null, 4, 3]);
  expect(curve?.smoothed[3]).toBeCloseTo(4, 12);
  expect(curve?.end).toEqual({ stage: 'high', step: 8 });
  expect(chainCurves(stages.slice(0, 1), 'step', 0).marks).toEqual([{ at: 10, label: 'attempt 2' }]);
});

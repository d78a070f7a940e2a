import { idFor } from '@cairn/client/testing';
import { type RunTimeline, runTimeline } from '@cairn/contract';
import { expect, test } from 'vitest';
import { layOutTimeline, marks, maxLanes } from './timeline-layout.ts';

const at = (second: number): string => new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString();

/** A run of 100 s with one step, ready at 0 s, whose attempts work between the given seconds; null: still. */
const aTimeline = (attempts: readonly (readonly [number, number | null])[], finishedAt: string | null = at(100)): RunTimeline =>
  runTimeline.parse({
    asOf: at(100),
    startedAt: at(0),
    finishedAt,
    steps: [
      {
        id: idFor('stp', 1),
        name: 'a',
        kind: 'train',
        state: 'active',
        createdAt: at(0),
        readyAt: at(0),
        startedAt: null,
        finishedAt: null,
      },
    ],
    attempts: attempts.map(([from, to], index) => ({
      ...{
        id: idFor('att', index),
        step: 'a',
        ordinal: index + 1,
        purpose: 'work',
        state: 'running',
        pool: 'local',
        slots: 1,
        place: null,
      },
      ...{
        createdAt: at(from),
        startedAt: at(from),
        endedAt: to === null ? null : at(to),
        failure: null,
        stopReason: null,
        resumedFrom: null,
      },
    })),
    attemptsTotal: attempts.length,
  });

test('bars are shares of the time of the run, an open one ends now, and the wait is before the first', () => {
  const [row] = layOutTimeline(
    aTimeline(
      [
        [20, 50],
        [60, null],
      ],
      null,
    ),
  ).rows;
  expect(row?.lanes.map((lane) => lane.map(({ from, to }) => [from, to]))).toEqual([
    [
      [0.2, 0.5],
      [0.6, 1],
    ],
  ]);
  expect(row?.waits.map(({ from, to }) => [from, to])).toEqual([[0, 0.2]]);
});

test('attempts at the same time have a lane each, up to a limit, and the others are counted', () => {
  const together = Array.from({ length: maxLanes + 3 }, () => [10, 90] as const);
  const [row] = layOutTimeline(aTimeline(together)).rows;
  expect([row?.lanes.length, row?.hidden]).toEqual([maxLanes, 3]);
});

test('marks are at round times', () => {
  expect(marks(100_000, 8)).toEqual([0, 15, 30, 45, 60, 75, 90].map((second) => second * 1000));
  expect(marks(3 * 86_400_000, 8)).toHaveLength(7);
});

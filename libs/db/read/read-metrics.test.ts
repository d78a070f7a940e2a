import { describe, expect, test } from 'vitest';
import { lttb, mergeResumed, readMetrics } from './read-metrics.ts';
import { getAttempt, listAttempts } from './steps.ts';
import { createRows, openTestDatabase } from './testing/rows.ts';

const { prisma } = await openTestDatabase();
const rows = createRows(prisma);

/** Points at the given steps; the value identifies the attempt that reported them. */
const points = (steps: number[], value: number) => ({ steps, values: steps.map(() => value), times: steps });

describe('readMetrics', () => {
  test('a resumed attempt replaces the points after the step it resumed from', async () => {
    const { run, step } = await rows.addReadyStep({ name: '384', state: 'active' });
    const first = await rows.addAttempt(step, { state: 'lost' });
    const second = await rows.addAttempt(step, { resumedFrom: { step: 20, epoch: 1, checkpoint: 'ckp' } });
    const chunk = { name: 'loss', stepId: step.id };
    await prisma.metricChunk.createMany({
      data: [
        { ...chunk, attemptId: first.id, chunk: 2, ...points([30, 40], 1) },
        { ...chunk, attemptId: first.id, chunk: 1, ...points([10, 20], 1) },
        { ...chunk, attemptId: second.id, chunk: 1, ...points([30], 2) },
        { ...chunk, attemptId: first.id, chunk: 1, name: 'accuracy', ...points([10], 0.5) },
      ],
    });
    const args = { projectId: 'default', runId: run.id, name: '384', maxPoints: 100 };
    expect((await listAttempts(prisma, args)).items.map(({ reachedStep }) => reachedStep)).toEqual([40, 30]);
    expect((await getAttempt(prisma, { projectId: 'default', attemptId: first.id })).reachedStep).toBe(40);
    expect(await readMetrics(prisma, { ...args, names: ['loss'] })).toEqual({
      series: [{ name: 'loss', steps: [10, 20, 30], values: [1, 1, 2], times: [10, 20, 30] }],
      decimated: false,
    });
    expect((await readMetrics(prisma, args)).series.map((series) => series.name)).toEqual(['accuracy', 'loss']);
    expect(await readMetrics(prisma, { ...args, names: ['loss'], maxPoints: 2 })).toMatchObject({
      series: [{ steps: [10, 30] }],
      decimated: true,
    });
  });

  test('the points of all attempts of a fleet are merged in order of time', async () => {
    const { run, step } = await rows.addReadyStep({ name: 'extract_index', kind: 'extract', state: 'active', shardsTotal: 2 });
    const [first, second] = [await rows.addAttempt(step), await rows.addAttempt(step)];
    const chunk = { name: 'imagesPerSecond', stepId: step.id, chunk: 1 };
    await prisma.metricChunk.createMany({
      data: [
        { ...chunk, attemptId: first.id, steps: [1, 2], values: [5, 6], times: [100, 300] },
        { ...chunk, attemptId: second.id, steps: [1], values: [7], times: [200] },
      ],
    });
    const view = await readMetrics(prisma, { projectId: 'default', runId: run.id, name: 'extract_index', maxPoints: 100 });
    expect(view.series).toEqual([{ name: 'imagesPerSecond', steps: [1, 1, 2], values: [5, 7, 6], times: [100, 200, 300] }]);
  });
});

test('an attempt that starts from the beginning replaces everything; one without points replaces nothing', () => {
  expect(
    mergeResumed([
      { resumedAtStep: null, ...points([1, 2, 3], 1) },
      { resumedAtStep: null, ...points([1], 2) },
      { resumedAtStep: 1, ...points([], 3) },
    ]),
  ).toEqual(points([1], 2));
});

describe('lttb', () => {
  const steps = Array.from({ length: 10_000 }, (_, index) => index);
  test('keeps the ends, the peak and at most the requested number of points', () => {
    const values = steps.map((step) => (step === 6_543 ? 50 : Math.sin(step / 900)));
    for (const maxPoints of [2, 3, 100, 999]) {
      const kept = lttb({ steps, values, times: steps }, maxPoints);
      expect(kept.steps).toHaveLength(maxPoints);
      expect([kept.steps[0], kept.steps.at(-1)]).toEqual([0, 9_999]);
      expect(kept.steps).toEqual(kept.steps.toSorted((a, b) => a - b));
      expect(kept.values).toEqual(kept.steps.map((step) => values[step]));
      if (maxPoints > 2) expect(kept.steps).toContain(6_543);
    }
  });
  test('leaves a short curve unchanged', () => {
    const short = points([1, 2, 3], 1);
    expect(lttb(short, 3)).toBe(short);
  });
});

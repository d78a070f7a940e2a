import { describe, expect, test } from 'vitest';
import { readMetrics } from './read-metrics.ts';
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
    expect(await readMetrics(prisma, { ...args, names: ['loss'] })).toMatchObject({
      series: [{ name: 'loss', steps: [10, 20, 30], values: [1, 1, 2], times: [10, 20, 30], total: 3 }],
      decimated: false,
      // The line of the first is cut where that of the second begins.
      attempts: [
        { id: first.id, ordinal: 1, resumedFrom: null, firstStep: 10, lastStep: 20 },
        { id: second.id, ordinal: 2, resumedFrom: 20, firstStep: 30, lastStep: 30 },
      ],
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
    expect(view.series).toEqual([{ name: 'imagesPerSecond', steps: [1, 1, 2], values: [5, 7, 6], times: [100, 200, 300], total: 3 }]);
  });
});

test('an attempt that starts from the beginning replaces everything; one without points replaces nothing', async () => {
  const { run, step } = await rows.addReadyStep({ name: '384', state: 'active' });
  const [first, second] = [await rows.addAttempt(step, { state: 'lost' }), await rows.addAttempt(step, { state: 'lost' })];
  await rows.addAttempt(step, { resumedFrom: { step: 0, epoch: 0 } });
  await prisma.metricChunk.createMany({
    data: [
      { name: 'loss', stepId: step.id, attemptId: first.id, chunk: 1, ...points([1, 2, 3], 1) },
      { name: 'loss', stepId: step.id, attemptId: second.id, chunk: 1, ...points([1, 2], 2) },
    ],
  });
  const { series, attempts } = await readMetrics(prisma, { projectId: 'default', runId: run.id, name: '384', maxPoints: 100 });
  expect(series).toEqual([{ name: 'loss', ...points([1, 2], 2), total: 2 }]);
  expect(attempts).toMatchObject([{ ordinal: 2, resumedFrom: null, firstStep: 1, lastStep: 2 }]);
});

describe('a long curve', async () => {
  const { run, step } = await rows.addReadyStep({ name: '384', state: 'active' });
  const attempt = await rows.addAttempt(step);
  const steps = Array.from({ length: 10_000 }, (_, index) => index);
  const valueAt = (at: number) => (at === 6_543 ? 50 : Math.round(Math.sin(at / 900) * 1e6) / 1e6);
  await prisma.metricChunk.createMany({
    data: Array.from({ length: 100 }, (_, chunk) => {
      const own = steps.slice(chunk * 100, chunk * 100 + 100);
      return { name: 'loss', stepId: step.id, attemptId: attempt.id, chunk, steps: own, values: own.map(valueAt), times: own };
    }),
  });
  const read = async (maxPoints: number, range: { after?: number; from?: number; to?: number } = {}) => {
    const view = await readMetrics(prisma, { projectId: 'default', runId: run.id, name: '384', maxPoints, ...range });
    return { ...(view.series[0] ?? expect.fail('no series')), isDecimated: view.decimated };
  };

  test.each([2, 3, 100, 999])('is decimated to at most %i points, and keeps its ends and its peak', async (maxPoints) => {
    const kept = await read(maxPoints);
    expect(kept).toMatchObject({ total: 10_000, isDecimated: true });
    expect(kept.steps.length).toBeLessThanOrEqual(maxPoints);
    expect(kept.steps.length).toBeGreaterThan(maxPoints / 2 - 2);
    expect([kept.steps[0], kept.steps.at(-1)]).toEqual([0, 9_999]);
    expect(kept.steps).toEqual(kept.steps.toSorted((a, b) => a - b));
    expect(kept.values).toEqual(kept.steps.map(valueAt));
    expect(kept.times).toEqual(kept.steps);
    if (maxPoints > 3) expect(kept.steps).toContain(6_543);
  });

  test('is read from a range, or after the last point that the reader has', async () => {
    expect(await read(1_000, { after: 9_990 })).toMatchObject({ steps: steps.slice(9_991), total: 9, isDecimated: false });
    expect(await read(1_000, { from: 150, to: 152 })).toMatchObject({ steps: [150, 151, 152], total: 3 });
    const part = await read(10, { from: 6_000, to: 7_000 });
    expect([part.steps[0], part.steps.at(-1), part.total]).toEqual([6_000, 7_000, 1_001]);
    expect(part.steps).toContain(6_543);
  });
});

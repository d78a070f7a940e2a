import type { StepKind } from '@cairn/contract';
import { beforeEach, expect, test } from 'vitest';
import { settingsOfLargestLoader } from './largest-loader.ts';
import { createRows } from './testing/rows.ts';
import { openTestDatabase } from './testing/test-database.ts';

const { prisma } = await openTestDatabase();
const rows = createRows(prisma);
beforeEach(() => rows.clear());

const stage = (change: Record<string, number>) => ({ ranks: 8, loaderWorkers: 4, batch: 64, imageSize: 384, ...change });
const add = async (settings: Record<string, number>, kind: StepKind = 'train') =>
  (await rows.addReadyStep({ name: '384', kind, settings })).step.id;

test('the largest loader is that of the stage whose batches, loader processes and ranks take most bytes', async () => {
  const ids = [
    await add(stage({})),
    await add(stage({ imageSize: 512, loaderWorkers: 3 })),
    await add(stage({ ranks: 4 })),
    await add(stage({ imageSize: 1024, loaderWorkers: 0 })),
    await add(stage({ imageSize: 1024 }), 'extract'),
  ];
  expect(await settingsOfLargestLoader(prisma, ids)).toMatchObject({ imageSize: 512, loaderWorkers: 3 });
  expect(await settingsOfLargestLoader(prisma, ids.slice(2))).toMatchObject({ ranks: 4 });
  expect(await settingsOfLargestLoader(prisma, ids.slice(3))).toBeNull();
  expect(await settingsOfLargestLoader(prisma, [])).toBeNull();
});

import type { PoolRoom } from '@cairn/contract';
import { loadWaiting } from '@cairn/db';
import { recordPools } from '@cairn/engine';
import { ada, type Harness, openEngineHarness } from '@cairn/engine/testing';
import { createLogger } from '@cairn/runtime';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hasMoreRoom, type RoomReadings, type RoomSource, readRooms } from './admission.ts';
import { readinessOf } from './health.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await openEngineHarness();
});
afterAll(() => harness.close());
beforeEach(() => recordPools(harness.ctx, [{ name: 'gpus', executor: 'kubernetes', slots: 16, attemptSlots: 8 }]));

/** The part of an executor that is used here. */
function executorOf(see: () => PoolRoom | null, isWatching = true) {
  const asked: string[][] = [];
  const loaders: (number | undefined)[] = [];
  const executor: RoomSource = {
    isWatching: () => isWatching,
    capacity: async (_, live, loaderBytes) => {
      asked.push([...live]);
      loaders.push(loaderBytes);
      return see();
    },
  };
  return { executor, asked, loaders };
}
const leaderOf = (executor: RoomSource) => ({
  ctx: harness.ctx,
  lead: harness.lead,
  executors: new Map([['gpus', executor]]),
  signal: AbortSignal.timeout(10_000),
  log: createLogger({ name: 'test', level: 'silent' }),
});
const readRoom = async (executor: RoomSource, readings: RoomReadings = new Map()) =>
  readRooms(leaderOf(executor), await loadWaiting(harness.prisma), readings);
const row = () => harness.prisma.pool.findUniqueOrThrow({ where: { name: 'gpus' } });
const free = { fits: 1, leaving: 0, sentences: ['node a: 8 of 8 GPUs free'], nodes: [] };

describe('the room of a pool', () => {
  test('is what its executor sees, given the live attempts, and is recorded when it changes', async () => {
    const { executor, asked } = executorOf(() => free);
    expect(await readRoom(executor)).toMatchObject([{ name: 'gpus', room: free }]);
    const { room, updatedAt } = await row();
    expect(room).toEqual(free);
    await readRoom(executor);
    expect((await row()).updatedAt).toEqual(updatedAt);
    expect(asked).toEqual([[], []]);
  });

  test('is empty when the machines cannot be seen, so that nothing starts blindly', async () => {
    const blind = [{ room: { fits: 0, sentences: ['the state of its machines is unknown'] } }];
    expect(await readRoom(executorOf(() => free, false).executor)).toMatchObject(blind);
    const broken = executorOf(() => {
      throw new Error('no answer');
    });
    expect(await readRoom(broken.executor)).toMatchObject(blind);
    expect((await row()).room).toMatchObject({ fits: 0 });
  });

  test('is read again without the database, and only an increase triggers admission', async () => {
    let fits = 1;
    const { executor } = executorOf(() => ({ ...free, fits }));
    const readings: RoomReadings = new Map();
    await readRoom(executor, readings);
    const hasMore = () => hasMoreRoom(leaderOf(executor), readings);
    expect(await hasMore()).toBe(false);
    fits = 0;
    expect(await hasMore()).toBe(false);
    fits = 2;
    expect(await hasMore()).toBe(true);
    await readRoom(executor, readings);
    expect(await hasMore()).toBe(false);
    await readRoom(executorOf(() => null).executor, readings);
    expect(readings.size).toBe(0);
  });

  test('allows for the largest loaders of the waiting stages, which may need most of a machine’s memory', async () => {
    const { executor, loaders } = executorOf(() => free);
    const readings: RoomReadings = new Map();
    await readRoom(executor, readings);
    const runId = await harness.submit({ set: { 'stages.first.loaderWorkers': 3 } });
    await harness.play(runId, 'prepare');
    await readRoom(executor, readings);
    await hasMoreRoom(leaderOf(executor), readings);
    const first = 3 * 2 * 2 * 4 * 32 * 32 * 3;
    expect(loaders).toEqual([0, first, first]);
    await harness.engine.cancelRun(runId, ada, '');
  });

  test('is null for pools that have slots only', async () => {
    await readRoom(executorOf(() => free).executor);
    expect(await readRoom(executorOf(() => null).executor)).toMatchObject([{ room: null }]);
    expect((await row()).room).toBeNull();
  });
});

describe('a controller is ready', () => {
  const checks = (isWatching = true) => readinessOf(harness.prisma, new Map([['gpus', executorOf(() => null, isWatching).executor]]));
  const signal = AbortSignal.timeout(10_000);

  test('while there is a leader and the pools are watched', async () => {
    await checks().database?.(signal);
    await checks().pools?.(signal);
    expect(() => checks(false).pools?.(signal)).toThrow('not watching gpus');
  });

  test('not without a leader', async () => {
    await harness.prisma.$executeRaw`update leadership set expires_at = now() - interval '1 second'`;
    await expect(checks().database?.(signal)).rejects.toThrow('no leader; the last one was test');
  });
});

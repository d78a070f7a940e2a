import { waitFor } from '@cairn/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  acquireLead,
  attemptGone,
  attemptsToQueue,
  beginLaunch,
  createAttempts,
  drainOutbox,
  finalizationFailed,
  type Leadership,
  pendingFinalization,
  recordFindings,
  recordPlace,
  recordPools,
  recordRoom,
  releaseLead,
  stepsToFinalize,
} from '../index.ts';
import { ada, type Harness, openEngineHarness } from '../testing/engine-harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await openEngineHarness();
  await harness.playAll(await harness.submit());
});
afterAll(() => harness.close());

let variant = 500;
/** An attempt of a training step that is being launched. */
async function anAttempt(slots?: number) {
  const runId = await anotherRun();
  const { id: stepId } = await harness.step(runId, 'first');
  return { runId, stepId, id: await nextAttempt(runId, stepId, slots) };
}
async function nextAttempt(runId: string, stepId: string, slots?: number): Promise<string> {
  await createAttempts(harness.ctx, harness.lead, runId, stepId, 'gpus', 1, slots);
  return (await harness.prisma.attempt.findFirstOrThrow({ where: { stepId }, orderBy: { ordinal: 'desc' } })).id;
}
/** A run that has reached the training step `first`, different from every other run. */
async function anotherRun(): Promise<string> {
  variant += 1;
  return harness.submit({ set: { 'stages.first.epochs': (variant % 200) + 1, 'stages.first.seed': variant } });
}
/** A run whose lists are in the queue, with one attempt. */
async function queuedPreparation() {
  variant += 1;
  const runId = await harness.submit({ set: { 'prepare.testSeed': variant } });
  const { id, pool } = await harness.step(runId, 'prepare');
  await createAttempts(harness.ctx, harness.lead, runId, id, pool, 1);
  const { id: attemptId } = await harness.prisma.attempt.findFirstOrThrow({ where: { runId } });
  return { runId, attemptId };
}
const row = (id: string) => harness.prisma.attempt.findUniqueOrThrow({ where: { id } });
const finding = { code: 'unschedulable', message: 'no node can hold its pod now', since: new Date(0).toISOString() };
const nodeLost = { cause: 'infrastructure', code: 'node_lost', message: 'its node was lost' } as const;
/** The leadership of a leader that has expired without noticing. */
const formerLead = (): Leadership => ({ ...harness.lead, epoch: harness.lead.epoch - 1 });

describe('a finding about an attempt', () => {
  test('is recorded, and cleared when it is over', async () => {
    const attempt = await anAttempt();
    await recordFindings(harness.ctx, harness.lead, [{ attempt, finding }]);
    expect((await row(attempt.id)).finding).toEqual(finding);
    await recordFindings(harness.ctx, harness.lead, [{ attempt, finding: null }]);
    expect((await row(attempt.id)).finding).toBeNull();
  });

  test('is not recorded by a former leader, or for an ended attempt', async () => {
    const attempt = await anAttempt();
    await recordFindings(harness.ctx, formerLead(), [{ attempt, finding }]);
    expect((await row(attempt.id)).finding).toBeNull();
    await attemptGone(harness.ctx, harness.lead, { ...attempt, generation: 1 }, nodeLost);
    await recordFindings(harness.ctx, harness.lead, [{ attempt, finding }]);
    expect((await row(attempt.id)).finding).toBeNull();
  });
});

describe('an attempt that is gone', () => {
  test.each([
    ['preempted', 'preempted', 'preemption'],
    ['step_failed', 'cancelled', 'infrastructure'],
    ['cancelled', 'cancelled', 'infrastructure'],
  ] as const)('after a request to stop with the cause %s is %s', async (stopCause, state, cause) => {
    const { id, runId } = await anAttempt();
    await harness.prisma.attempt.update({ where: { id }, data: { state: 'stopping', stopCause, stopReason: 'for people' } });
    await attemptGone(harness.ctx, harness.lead, { id, runId, generation: 1 }, nodeLost);
    expect(await row(id)).toMatchObject({ state, failure: { cause } });
  });

  test('without a request to stop is lost', async () => {
    const { id, runId } = await anAttempt();
    await attemptGone(harness.ctx, harness.lead, { id, runId, generation: 1 }, nodeLost);
    expect(await row(id)).toMatchObject({ state: 'lost', failure: { cause: 'infrastructure' } });
  });
});

describe('the room of a pool', () => {
  const room = { fits: 2, leaving: 1, sentences: ['node a: 8 of 8 GPUs free'], nodes: [] };
  const pool = () => harness.prisma.pool.findUniqueOrThrow({ where: { name: 'gpus' } });

  test('is recorded by the leader only', async () => {
    await recordPools(harness.ctx, [{ name: 'gpus', executor: 'kubernetes', slots: 16, attemptSlots: 8 }]);
    await recordRoom(harness.ctx, formerLead(), 'gpus', room);
    expect(await pool()).toMatchObject({ attemptSlots: 8, room: null });
    await recordRoom(harness.ctx, harness.lead, 'gpus', room);
    expect((await pool()).room).toEqual(room);
    await recordRoom(harness.ctx, harness.lead, 'gpus', null);
    expect((await pool()).room).toBeNull();
  });
});

describe('an attempt that is being launched', () => {
  test('holds the slots of its pool, regardless of its step', async () => {
    const attempt = await anAttempt(8);
    expect((await row(attempt.id)).slots).toBe(8);
    expect(await beginLaunch(harness.ctx, attempt.id, 1)).toMatchObject({ slots: 8, avoidNodes: [] });
  });

  test('avoids the nodes on which attempts of its step ended because of the node', async () => {
    const { runId, stepId, id } = await anAttempt();
    await attemptGone(harness.ctx, harness.lead, { id, runId, generation: 1 }, nodeLost, 'node-a');
    const second = await nextAttempt(runId, stepId);
    expect((await beginLaunch(harness.ctx, second, 1))?.avoidNodes).toEqual(['node-a']);
    await attemptGone(harness.ctx, harness.lead, { id: second, runId, generation: 1 }, nodeLost);
    const third = await nextAttempt(runId, stepId);
    expect((await beginLaunch(harness.ctx, third, 1))?.avoidNodes).toEqual(['node-a']);
  });

  test('is queued again until its executor has it; a waiting pod is watched, not started again', async () => {
    const { id } = await anAttempt();
    await harness.prisma.outbox.deleteMany({ where: { row: id } });
    const missing = async () => (await attemptsToQueue(harness.ctx, -1_000)).map((entry) => entry.row);
    expect(await missing()).toContain(id);
    await beginLaunch(harness.ctx, id, 1);
    expect(await missing()).toContain(id);
    await recordPlace(harness.ctx, id, 1, 'training/mini-1-first', 'mini-1-first');
    expect(await missing()).not.toContain(id);
  });
});

describe('after a crash', () => {
  test('an outbox entry stays until it was delivered', async () => {
    const runId = await anotherRun();
    await drainOutbox(harness.ctx, async () => undefined, 10_000);
    const { id, pool } = await harness.step(runId, 'first');
    await createAttempts(harness.ctx, harness.lead, runId, id, pool, 1);
    await expect(drainOutbox(harness.ctx, () => Promise.reject(new Error('the queue is down')), 10_000)).rejects.toThrow(
      'the queue is down',
    );
    const entries: unknown[] = [];
    expect(await drainOutbox(harness.ctx, async (taken) => void entries.push(...taken), 10_000)).toBe(1);
    expect(entries).toMatchObject([{ queue: 'launch', generation: 1 }]);
  });

  test('an emptied queue is refilled', async () => {
    const runId = await anotherRun();
    const { id, pool } = await harness.step(runId, 'first');
    await createAttempts(harness.ctx, harness.lead, runId, id, pool, 1);
    await drainOutbox(harness.ctx, async () => undefined, 10_000);
    expect((await attemptsToQueue(harness.ctx, 0)).map((entry) => entry.queue)).toContain('launch');
  });

  test('a step is finalized although the request was lost', async () => {
    const runId = await anotherRun();
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    await harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files: [harness.file('checkpoint.pt', attempt)], details: {} });
    const { id, generation } = await harness.step(runId, 'first');
    expect(await stepsToFinalize(harness.ctx)).toContainEqual({ stepId: id, generation });
    const finalization = await pendingFinalization(harness.ctx, id, generation);
    if (!finalization) throw new Error('no finalization is pending');
    await finalizationFailed(harness.ctx, finalization, { cause: 'infrastructure', code: 'corrupt_artifact', message: 'the copy differs' });
    expect(await harness.step(runId, 'first')).toMatchObject({ state: 'ready', generation: 2 });
    expect(await pendingFinalization(harness.ctx, id, generation)).toBeNull();
    await harness.play(runId, 'first');
    expect((await harness.step(runId, 'first')).state).toBe('succeeded');
  });
});

describe('the lead', () => {
  test('is held by one controller, expires, and rejects the writes of its previous holder', async () => {
    const runId = await anotherRun();
    const { id, pool } = await harness.step(runId, 'first');
    expect(await acquireLead(harness.prisma, 'other', 60_000)).toBeNull();
    await releaseLead(harness.prisma, harness.lead);
    const other = await acquireLead(harness.prisma, 'other', 60_000);
    expect(other?.epoch).toBe(harness.lead.epoch + 1);
    await expect(createAttempts(harness.ctx, harness.lead, runId, id, pool, 1)).rejects.toMatchObject({ code: 'superseded' });
    expect((await harness.step(runId, 'first')).state).toBe('ready');
    if (!other) return;
    await releaseLead(harness.prisma, other);
    harness.lead = (await acquireLead(harness.prisma, 'test', 60_000)) ?? harness.lead;
    // A holder that slept past the expiry returns under the same name with another epoch.
    expect(harness.lead.epoch).toBe(other.epoch + 1);
  });
});

describe('a launch', () => {
  test('waits for the command that holds the lock of the run', async () => {
    const { runId, attemptId } = await queuedPreparation();
    let launch: ReturnType<typeof beginLaunch> | undefined;
    await harness.prisma.$transaction(
      async (tx) => {
        await tx.$queryRaw`select 1 from run where id = ${runId} for update`;
        launch = beginLaunch(harness.ctx, attemptId, 1);
        const waits = () => harness.prisma.$queryRaw<unknown[]>`
        select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%launching%'`;
        await waitFor(async () => (await waits()).length === 1, { message: 'the launch to wait' });
        await tx.attempt.update({ where: { id: attemptId }, data: { state: 'cancelled' } });
      },
      { timeout: 20_000 },
    );
    expect(await launch).toBeNull();
    expect((await harness.prisma.attempt.findUniqueOrThrow({ where: { id: attemptId } })).state).toBe('cancelled');
  });

  test('a cancel that races with a launch takes effect in either order', async () => {
    for (let round = 0; round < 30; round += 1) {
      const { runId, attemptId } = await queuedPreparation();
      const [launch] = await Promise.all([beginLaunch(harness.ctx, attemptId, 1), harness.engine.cancelRun(runId, ada, '')]);
      const { state } = await harness.prisma.attempt.findUniqueOrThrow({ where: { id: attemptId } });
      // Cancelled first: there is nothing to launch. Launched first: it is asked to stop.
      expect(['cancelled', 'stopping']).toContain(state);
      if (state === 'cancelled') expect(launch).toBeNull();
      expect((await harness.run(runId)).state).toBe(state === 'cancelled' ? 'cancelled' : 'cancelling');
    }
  });

  test('includes the shared memory that the loaders of its stage need', async () => {
    variant += 1;
    const runId = await harness.submit({ set: { 'stages.first.loaderWorkers': 3, 'stages.first.seed': variant } });
    const { id, pool } = await harness.step(runId, 'first');
    await createAttempts(harness.ctx, harness.lead, runId, id, pool, 1);
    const attempt = await harness.prisma.attempt.findFirstOrThrow({ where: { stepId: id } });
    expect(await beginLaunch(harness.ctx, attempt.id, 1)).toMatchObject({ loaderBytes: 3 * 2 * 2 * 4 * 32 * 32 * 3 });
  });
});

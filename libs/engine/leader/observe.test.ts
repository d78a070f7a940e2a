import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  attemptGone,
  attemptsToQueue,
  beginLaunch,
  createAttempts,
  type Leadership,
  recordFindings,
  recordPlace,
  recordPools,
  recordRoom,
} from '../index.ts';
import { type Harness, openEngineHarness } from '../testing/engine-harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await openEngineHarness();
  await harness.playAll(await harness.submit());
});
afterAll(() => harness.close());

let variant = 500;
/** An attempt of a training step that is being launched. */
async function anAttempt(slots?: number) {
  variant += 1;
  const runId = await harness.submit({ set: { 'stages.first.epochs': (variant % 200) + 1, 'stages.first.seed': variant } });
  const { id: stepId } = await harness.step(runId, 'first');
  return { runId, stepId, id: await nextAttempt(runId, stepId, slots) };
}
async function nextAttempt(runId: string, stepId: string, slots?: number): Promise<string> {
  await createAttempts(harness.ctx, harness.lead, runId, stepId, 'gpus', 1, slots);
  return (await harness.prisma.attempt.findFirstOrThrow({ where: { stepId }, orderBy: { ordinal: 'desc' } })).id;
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
  const room = { fits: 2, leaving: 1, sentences: ['node a: 8 of 8 GPUs free'] };
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

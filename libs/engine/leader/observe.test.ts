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
import { openStage, type Stage } from '../testing/play.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.playAll(await stage.submit());
});
afterAll(() => stage.close());

let variant = 500;
/** An attempt of a training step on its way to its pool. */
async function anAttempt(slots?: number) {
  variant += 1;
  const runId = await stage.submit({ set: { 'stages.first.epochs': (variant % 200) + 1, 'stages.first.seed': variant } });
  const { id: stepId } = await stage.step(runId, 'first');
  return { runId, stepId, id: await nextAttempt(runId, stepId, slots) };
}
async function nextAttempt(runId: string, stepId: string, slots?: number): Promise<string> {
  await createAttempts(stage.ctx, stage.lead, runId, stepId, 'gpus', 1, slots);
  return (await stage.prisma.attempt.findFirstOrThrow({ where: { stepId }, orderBy: { ordinal: 'desc' } })).id;
}
const row = (id: string) => stage.prisma.attempt.findUniqueOrThrow({ where: { id } });
const finding = { code: 'unschedulable', message: 'no node can hold its pod now', since: new Date(0).toISOString() };
const nodeLost = { cause: 'infrastructure', code: 'node_lost', message: 'its node was lost' } as const;
/** As a leader whose time has run out still believes. */
const formerLead = (): Leadership => ({ ...stage.lead, epoch: stage.lead.epoch - 1 });

describe('what is seen around an attempt', () => {
  test('is written down, and taken back when it is over', async () => {
    const attempt = await anAttempt();
    await recordFindings(stage.ctx, stage.lead, [{ attempt, finding }]);
    expect((await row(attempt.id)).finding).toEqual(finding);
    await recordFindings(stage.ctx, stage.lead, [{ attempt, finding: null }]);
    expect((await row(attempt.id)).finding).toBeNull();
  });

  test('is not written by a leader that was, nor on an attempt that is over', async () => {
    const attempt = await anAttempt();
    await recordFindings(stage.ctx, formerLead(), [{ attempt, finding }]);
    expect((await row(attempt.id)).finding).toBeNull();
    await attemptGone(stage.ctx, stage.lead, { ...attempt, generation: 1 }, nodeLost);
    await recordFindings(stage.ctx, stage.lead, [{ attempt, finding }]);
    expect((await row(attempt.id)).finding).toBeNull();
  });
});

describe('an attempt that is gone', () => {
  test.each([
    ['preempted', 'preempted', 'preemption'],
    ['step_failed', 'cancelled', 'infrastructure'],
    ['cancelled', 'cancelled', 'infrastructure'],
  ] as const)('after it was asked to stop because it is %s was %s', async (stopCause, state, cause) => {
    const { id, runId } = await anAttempt();
    await stage.prisma.attempt.update({ where: { id }, data: { state: 'stopping', stopCause, stopReason: 'for people' } });
    await attemptGone(stage.ctx, stage.lead, { id, runId, generation: 1 }, nodeLost);
    expect(await row(id)).toMatchObject({ state, failure: { cause } });
  });

  test('without having been asked was lost', async () => {
    const { id, runId } = await anAttempt();
    await attemptGone(stage.ctx, stage.lead, { id, runId, generation: 1 }, nodeLost);
    expect(await row(id)).toMatchObject({ state: 'lost', failure: { cause: 'infrastructure' } });
  });
});

describe('what the machines of a pool can hold', () => {
  const room = { fits: 2, leaving: 1, sentences: ['node a: 8 of 8 GPUs free'] };
  const pool = () => stage.prisma.pool.findUniqueOrThrow({ where: { name: 'gpus' } });

  test('is written down by the leader alone', async () => {
    await recordPools(stage.ctx, [{ name: 'gpus', executor: 'kubernetes', slots: 16, attemptSlots: 8 }]);
    await recordRoom(stage.ctx, formerLead(), 'gpus', room);
    expect(await pool()).toMatchObject({ attemptSlots: 8, room: null });
    await recordRoom(stage.ctx, stage.lead, 'gpus', room);
    expect((await pool()).room).toEqual(room);
    await recordRoom(stage.ctx, stage.lead, 'gpus', null);
    expect((await pool()).room).toBeNull();
  });
});

describe('an attempt on its way', () => {
  test('holds the slots of its pool, whatever its step asks for', async () => {
    const attempt = await anAttempt(8);
    expect((await row(attempt.id)).slots).toBe(8);
    expect(await beginLaunch(stage.ctx, attempt.id, 1)).toMatchObject({ slots: 8, avoidNodes: [] });
  });

  test('avoids the nodes on which attempts of its step ended for a fault of the node', async () => {
    const { runId, stepId, id } = await anAttempt();
    await attemptGone(stage.ctx, stage.lead, { id, runId, generation: 1 }, nodeLost, 'node-a');
    const second = await nextAttempt(runId, stepId);
    expect((await beginLaunch(stage.ctx, second, 1))?.avoidNodes).toEqual(['node-a']);
    await attemptGone(stage.ctx, stage.lead, { id: second, runId, generation: 1 }, nodeLost);
    const third = await nextAttempt(runId, stepId);
    expect((await beginLaunch(stage.ctx, third, 1))?.avoidNodes).toEqual(['node-a']);
  });

  test('is asked for again until its executor has it; a pod that waits is watched, not started again', async () => {
    const { id } = await anAttempt();
    await stage.prisma.outbox.deleteMany({ where: { row: id } });
    const missing = async () => (await attemptsToQueue(stage.ctx, -1_000)).map((entry) => entry.row);
    expect(await missing()).toContain(id);
    await beginLaunch(stage.ctx, id, 1);
    expect(await missing()).toContain(id);
    await recordPlace(stage.ctx, id, 1, 'training/mini-1-first', 'mini-1-first');
    expect(await missing()).not.toContain(id);
  });
});

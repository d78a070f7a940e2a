import { readLedger } from '@cairn/db';
import { afterAll, expect, test } from 'vitest';
import { recordPools } from './index.ts';
import { openEngineHarness } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
const { prisma, engine } = harness;

const ledgerOf = (run: string, by: 'run' | 'step' | 'attempt' = 'run') =>
  readLedger(prisma, { projectId: 'default', by, run, limit: 50 }, new Date(Date.now() + 1000));
/** Moves what a step and its attempts did so far to an earlier time. */
async function age(runId: string, name: string, seconds: number): Promise<void> {
  const { id } = await harness.step(runId, name);
  await prisma.$executeRaw`update step set ready_at = ready_at - make_interval(secs => ${seconds}) where id = ${id}`;
  await prisma.$executeRaw`update attempt set created_at = created_at - make_interval(secs => ${seconds}),
    started_at = started_at - make_interval(secs => ${seconds}), kept_at = kept_at - make_interval(secs => ${seconds}),
    queued_at = queued_at - make_interval(secs => ${seconds}) where step_id = ${id}`;
}

test('an attempt has the time that its step waited, and what it stored is useful; a later price changes nothing, and reuse saves what was useful', async () => {
  const pool = { name: 'gpu', executor: 'process', slots: 8, attemptSlots: null };
  await recordPools(harness.ctx, [{ ...pool, gpuHourPrice: 3600 }]);
  const runId = await harness.submit();
  await harness.play(runId, 'prepare');
  await age(runId, 'first', 100);
  const [lost = ''] = await harness.startAttempts(runId, 'first', 1, 'gpu');
  const checkpoint = { type: 'checkpoint' as const, step: 3, epoch: 1, final: false, bytes: 1, sha256: 'a'.repeat(64) };
  const key = `staging/${lost}/checkpoints/3.pt`;
  await engine.report(lost, 1, { seq: 1, at: new Date().toISOString(), items: [{ ...checkpoint, key }] });
  await prisma.$executeRaw`update attempt set created_at = created_at - interval '50 s', started_at = started_at - interval '50 s' where id = ${lost}`;
  await engine.finishAttempt(lost, 1, { outcome: 'failed', cause: 'gpu', code: 'gpu_lost', message: 'an uncorrectable error' });
  await recordPools(harness.ctx, [pool]);

  const { total } = await ledgerOf(runId);
  expect(total.queued).toBeGreaterThan(49);
  expect(total.useful).toBeGreaterThan(49);
  expect(total.lostBy.gpu).toBeLessThan(10);
  expect(total.cost).toBeCloseTo(total.held, 3);

  await prisma.step.updateMany({ where: { runId }, data: { notBefore: null } });
  const [second = ''] = await harness.startAttempts(runId, 'first', 1, 'gpu');
  await prisma.$executeRaw`update attempt set created_at = created_at - interval '30 s', started_at = started_at - interval '30 s' where id = ${second}`;
  await engine.finishAttempt(second, 1, { outcome: 'succeeded', files: [harness.file('first.bin', second)], details: { step: 3 } });
  await harness.finalize(runId, 'first');
  const made = (await ledgerOf(runId, 'step')).items.find(({ key: name }) => name === 'first');
  const attempts = (await ledgerOf(runId, 'attempt')).items;
  expect(attempts.map(({ name }) => name)).toEqual([expect.stringMatching(/\/first\/1$/), expect.stringMatching(/\/first\/2$/)]);

  const again = await harness.submit();
  const reused = await ledgerOf(again, 'step');
  expect((await harness.step(again, 'first')).state).toBe('reused');
  expect(reused.items.find(({ key: name }) => name === 'first')).toMatchObject({
    held: 0,
    saved: made?.useful,
    savedCost: expect.any(Number),
  });
  expect(made?.useful).toBeGreaterThan(79);

  // Its history stays when the artifact goes.
  await prisma.step.updateMany({ where: { name: 'first' }, data: { artifactId: null } });
  expect((await ledgerOf(again)).total.saved).toBe(made?.useful);
});

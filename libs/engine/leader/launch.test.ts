import { waitFor } from '@cairn/testing';
import { afterAll, expect, test } from 'vitest';
import { ada, openEngineHarness } from '../testing/engine-harness.ts';
import { beginLaunch, createAttempts } from './launch.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
const { prisma, ctx, engine } = harness;

let variant = 0;
/** A run with one attempt in the queue. */
async function queuedAttempt() {
  variant += 1;
  const runId = await harness.submit({ set: { 'prepare.testSeed': variant } });
  const { id, pool } = await harness.step(runId, 'prepare');
  await createAttempts(ctx, harness.lead, runId, id, pool, 1);
  const { id: attemptId } = await prisma.attempt.findFirstOrThrow({ where: { runId } });
  return { runId, attemptId };
}

test('a launch waits for the command that holds the lock of the run', async () => {
  const { runId, attemptId } = await queuedAttempt();
  let launch: ReturnType<typeof beginLaunch> | undefined;
  await prisma.$transaction(
    async (tx) => {
      await tx.$queryRaw`select 1 from run where id = ${runId} for update`;
      launch = beginLaunch(ctx, attemptId, 1);
      const waits = () => prisma.$queryRaw<unknown[]>`
        select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%launching%'`;
      await waitFor(async () => (await waits()).length === 1, { message: 'the launch to wait' });
      await tx.attempt.update({ where: { id: attemptId }, data: { state: 'cancelled' } });
    },
    { timeout: 20_000 },
  );
  expect(await launch).toBeNull();
  expect((await prisma.attempt.findUniqueOrThrow({ where: { id: attemptId } })).state).toBe('cancelled');
});

test('a cancel that races with a launch takes effect in either order', async () => {
  for (let round = 0; round < 30; round += 1) {
    const { runId, attemptId } = await queuedAttempt();
    const [launch] = await Promise.all([beginLaunch(ctx, attemptId, 1), engine.cancelRun(runId, ada, '')]);
    const { state } = await prisma.attempt.findUniqueOrThrow({ where: { id: attemptId } });
    // Cancelled first: there is nothing to launch. Launched first: it is asked to stop.
    expect(['cancelled', 'stopping']).toContain(state);
    if (state === 'cancelled') expect(launch).toBeNull();
    expect((await harness.run(runId)).state).toBe(state === 'cancelled' ? 'cancelled' : 'cancelling');
  }
});

test('a launch includes the shared memory that the loaders of its stage need', async () => {
  variant += 1;
  const runId = await harness.submit({ set: { 'stages.first.loaderWorkers': 3, 'prepare.testSeed': variant } });
  await harness.play(runId, 'prepare');
  const { id, pool } = await harness.step(runId, 'first');
  await createAttempts(ctx, harness.lead, runId, id, pool, 1);
  const attempt = await prisma.attempt.findFirstOrThrow({ where: { stepId: id } });
  expect(await beginLaunch(ctx, attempt.id, 1)).toMatchObject({ loaderBytes: 3 * 2 * 2 * 4 * 32 * 32 * 3 });
});

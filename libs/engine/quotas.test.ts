import { afterAll, expect, test } from 'vitest';
import { createEngine } from './create-engine.ts';
import { ada, openEngineHarness, request } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());

const engineWith = (limits: Partial<typeof harness.ctx.limits>) =>
  createEngine({ ...harness.ctx, limits: { ...harness.ctx.limits, ...limits } }, async () => 0);
const bob = { ...ada, name: 'bob' };

test('live runs are counted by owner and by project, and an ended run frees its quota', async () => {
  const engine = engineWith({ ownerRuns: 2, projectRuns: 3 });
  const submit = (actor: typeof ada) => engine.submitRun(request({ noReuse: true }), actor, null);
  const first = await submit(ada);
  await submit(ada);
  await expect(submit(ada)).rejects.toMatchObject({ code: 'quota_exceeded', details: { setting: 'CAIRN_OWNER_RUNS', most: 2 } });
  await submit(bob);
  await expect(submit(bob)).rejects.toMatchObject({ code: 'quota_exceeded', details: { setting: 'CAIRN_PROJECT_RUNS' } });
  await engine.cancelRun(first.runId, ada, '');
  expect((await harness.run(first.runId)).state).toBe('cancelled');
  await submit(ada);
  // A reopened run counts again.
  await expect(engine.retryRun(first.runId, ada, null)).rejects.toMatchObject({ code: 'quota_exceeded' });
});

test('0 means no quota', async () => {
  const engine = engineWith({ ownerRuns: 0, projectRuns: 0 });
  for (let run = 0; run < 3; run += 1) await engine.submitRun(request({ noReuse: true }), ada, null);
});

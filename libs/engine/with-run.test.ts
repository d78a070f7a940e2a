import type { SubmitRequestInput } from '@cairn/contract';
import { getRun } from '@cairn/db';
import { afterAll, expect, test } from 'vitest';
import { settleGroup, unsettledGroups } from './index.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
const { engine, prisma } = harness;

let groups = 0;
/** Submissions in a group of their own. */
function aGroup(change: Partial<SubmitRequestInput> = {}) {
  groups += 1;
  const group = `g${groups}`;
  return { group, submit: (more: Partial<SubmitRequestInput> = {}) => harness.submit({ group, noReuse: true, ...change, ...more }) };
}
const stateOf = async (runId: string) => (await harness.run(runId)).state;
const view = (runId: string) => getRun(prisma, { projectId: 'default', runId });

test('of 20 runs that enter a group at the same time one runs, the newest waits, and the others are superseded', async () => {
  const { group, submit } = aGroup({ until: ['prepare'] });
  const ids = await Promise.all(Array.from({ length: 20 }, () => submit()));
  const runs = await prisma.run.findMany({ where: { group }, orderBy: { groupPlace: 'asc' } });
  expect(runs.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
  const [first, newest] = [runs.at(0), runs.at(-1)];
  expect(runs.map(({ state }) => state)).toEqual(['queued', ...Array.from({ length: 18 }, () => 'cancelled'), 'held']);
  for (const run of runs.slice(1, -1)) {
    expect(run.cancelCause).toBe('superseded');
    expect(run.cause).toMatch(new RegExp(`^superseded by \\S+ \\(run_\\w+\\), a newer run of the group ${group}$`));
  }
  // Nothing that waits has begun a step, and so none holds a result that another run would wait for.
  expect(await prisma.artifact.count({ where: { runId: { in: ids } } })).toBe(1);
  await engine.cancelRun(first?.id ?? '', ada, '');
  expect(await stateOf(newest?.id ?? '')).toBe('queued');
  expect(await view(first?.id ?? '')).toMatchObject({ cancelCause: 'person', hold: null });
});

test('a newer run cancels the one that runs, waits for its end, and takes over what it had finished', async () => {
  const { submit } = aGroup({ onNewer: 'cancel', noReuse: false, set: { 'stages.first.seed': 7 } });
  const old = await submit({ name: 'old' });
  await harness.play(old, 'prepare');
  const [attempt = ''] = await harness.startAttempts(old, 'first');
  const checkpoint = {
    type: 'checkpoint',
    key: `staging/${attempt}/checkpoint.pt`,
    bytes: 9,
    sha256: 'a'.repeat(64),
    step: 4,
    epoch: 0.5,
  } as const;
  await engine.report(attempt, 1, { seq: 1, at: new Date().toISOString(), items: [{ ...checkpoint, final: false }] });
  const newer = await submit();
  expect(await stateOf(old)).toBe('cancelling');
  const waiting = {
    code: 'group',
    sentence: expect.stringMatching(/^waiting for old \(run_\w+\), which runs in the concurrency group g2$/),
  };
  const held = await view(newer);
  expect(held).toMatchObject({ state: 'held', hold: 'group', now: waiting.sentence });
  expect(held.actions.find(({ action }) => action === 'release')).toMatchObject({ isAllowed: false });
  expect(held.stepViews.map((step) => step.waiting?.code).slice(0, 2)).toEqual(['group', 'dependencies']);
  expect(held.stepViews[0]?.waiting).toMatchObject(waiting);

  await engine.finishAttempt(attempt, 1, { outcome: 'cancelled', message: 'stopped' });
  expect(await view(old)).toMatchObject({ state: 'cancelled', cancelCause: 'superseded', cause: expect.stringContaining(newer) });
  expect(await view(newer)).toMatchObject({ state: 'running', hold: null, steps: { reused: 1 } });
  const [next = ''] = await harness.startAttempts(newer, 'first');
  expect(await engine.attemptSpec(next, 1, 1)).toMatchObject({ resume: [{ key: checkpoint.key, sha256: checkpoint.sha256 }] });
});

test('a retry enters the group as the newest run', async () => {
  const { submit } = aGroup();
  const first = await submit();
  await harness.play(first, 'prepare');
  await engine.cancelRun(first, ada, '');
  const second = await submit();
  const third = await submit();
  await engine.retryRun(first, ada, null);
  expect(await Promise.all([first, second, third].map(stateOf))).toEqual(['held', 'queued', 'cancelled']);
  await engine.cancelRun(second, ada, '');
  // It had started before.
  expect(await view(first)).toMatchObject({ state: 'running', cause: null, cancelCause: null });
  expect(await harness.ready(first)).toContain('first');
});

test('what a program left undone when it ended is found and done', async () => {
  const { group, submit } = aGroup();
  const first = await submit();
  const second = await submit();
  expect(await unsettledGroups(harness.ctx)).toEqual([]);
  // As if the program had ended before it notified the group.
  await prisma.run.update({ where: { id: first }, data: { state: 'failed' } });
  expect(await unsettledGroups(harness.ctx)).toEqual([{ projectId: 'default', group }]);
  await Promise.all([1, 2, 3].map(() => settleGroup(harness.ctx, { projectId: 'default', group })));
  expect(await stateOf(second)).toBe('queued');
  expect(await unsettledGroups(harness.ctx)).toEqual([]);
});

import { webhookMessage } from '@cairn/contract';
import { getRun, readAttention, readBudgets } from '@cairn/db';
import { afterAll, expect, test } from 'vitest';
import { noteBudgets } from './index.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
const { prisma, engine, submit } = harness;

const month = { gpuHours: 4, per: 'month', warnPercent: 50 } as const;
const stateOf = async (runId: string) => (await harness.run(runId)).state;
const budgetOf = async (scope: string, now?: Date) =>
  (await readBudgets(prisma, 'default', null, now)).find((budget) => budget.scope === scope);
const historyOf = async (runId: string) => prisma.event.findMany({ where: { runId }, orderBy: { seq: 'asc' } });

test('of concurrent submissions only as many start as the budget has room for; the rest is held, and starts when it is released', async () => {
  await engine.setBudget('label:team=search', month, ada);
  // Nothing is known of the time of these runs: each counts as an hour of one GPU, however little it has held.
  const ids = await Promise.all(
    Array.from({ length: 8 }, (_, seed) => submit({ labels: { team: 'search' }, set: { 'stages.first.seed': seed } })),
  );
  const states = await Promise.all(ids.map(stateOf));
  expect(states.filter((state) => state === 'held')).toHaveLength(4);
  expect(await budgetOf('label:team=search')).toMatchObject({ state: 'spent', usedHours: 0, expectedHours: 4 });
  const free = await submit({ labels: { team: 'other' } });
  expect(await stateOf(free)).not.toBe('held');

  const held = ids[states.indexOf('held')] ?? '';
  expect((await harness.run(held)).cause).toBe(
    'the budget label:team=search: 0 of 4 GPU-hours of this month are used, and live runs are expected to take 4 more',
  );
  const view = await getRun(prisma, { projectId: 'default', runId: held });
  expect(view).toMatchObject({
    hold: 'budget',
    now: expect.stringMatching(/^held until an admin releases it: the budget label:team=search/),
  });
  expect(view.stepViews.find(({ name }) => name === 'prepare')?.waiting).toMatchObject({ code: 'budget' });
  expect(await prisma.step.count({ where: { runId: held, state: { not: 'blocked' } } })).toBe(0);
  expect(await prisma.attempt.count({ where: { runId: held } })).toBe(0);
  const { items } = await readAttention(prisma, { projectId: 'default' });
  expect(items.filter(({ kind }) => kind === 'held-run')).toHaveLength(4);
  expect(items.find(({ kind }) => kind === 'budget')).toMatchObject({
    id: 'label:team=search',
    sentence: expect.stringMatching(/New runs are held/),
  });

  await engine.releaseRun(held, ada);
  expect(await stateOf(held)).not.toBe('held');
  expect((await harness.step(held, 'prepare')).state).toBe('ready');
  await expect(engine.releaseRun(held, ada)).rejects.toMatchObject({ code: 'wrong_state' });
  expect(await prisma.auditEntry.findMany({ where: { action: 'run.release' } })).toMatchObject([
    { target: held, before: { state: 'held' }, after: { state: 'queued' }, tokenId: ada.tokenId, address: ada.address },
  ]);
});

test('a run that its budget held enters its group when it is released: it waits for the run before it, and a newer one supersedes it', async () => {
  const inGroup = { labels: { team: 'groups' }, group: 'main' };
  const first = await submit({ ...inGroup, set: { 'prepare.testSeed': 20 } });
  await engine.setBudget('label:team=groups', { ...month, gpuHours: 0 }, ada);
  const second = await submit({ ...inGroup, set: { 'prepare.testSeed': 21 } });
  expect(await harness.run(second)).toMatchObject({ state: 'held', hold: 'budget', groupPlace: 2n });
  await engine.releaseRun(second, ada);
  expect(await harness.run(second)).toMatchObject({ state: 'held', hold: 'group', cause: null });
  await expect(engine.releaseRun(second, ada)).rejects.toMatchObject({ code: 'wrong_state' });
  await engine.cancelRun(first, ada, '');
  expect(await stateOf(second)).toBe('queued');

  const older = await submit({ ...inGroup, set: { 'prepare.testSeed': 22 } });
  await engine.removeBudget('label:team=groups', ada);
  const newer = await submit({ ...inGroup, onNewer: 'cancel', set: { 'prepare.testSeed': 23 } });
  await engine.cancelRun(second, ada, '');
  expect(await stateOf(newer)).toBe('queued');
  await engine.releaseRun(older, ada);
  expect(await harness.run(older)).toMatchObject({ state: 'cancelled', cancelCause: 'superseded', cause: expect.stringContaining(newer) });
  expect(await stateOf(newer)).toBe('queued');
  // A retry is the newest again.
  await engine.retryRun(older, ada, null);
  expect(await stateOf(newer)).toBe('cancelled');
  expect(await stateOf(older)).not.toBe('cancelled');
});

test('a budget warns and is spent once in a month, holds retries too, stops no attempt, and starts again with the month', async () => {
  const now = new Date();
  const runId = await submit({ set: { 'prepare.testSeed': 7 } });
  await engine.setBudget('owner:ada', { ...month, gpuHours: 1000 }, ada);
  await harness.play(runId, 'prepare');
  const [attempt = ''] = await harness.startAttempts(runId, 'first', 1, 'gpu');
  const setUsed = async (hours: number) => {
    await prisma.$executeRaw`update attempt set created_at = greatest(date_trunc('month', now(), 'UTC'), now() - interval '1 minute'), slots = 1 where id = ${attempt}`;
    const used = (await budgetOf('owner:ada'))?.usedHours ?? 0;
    await engine.setBudget('owner:ada', { ...month, gpuHours: (used / hours) * 4 }, ada);
  };
  await engine.addWebhook({ name: 'chat', url: 'https://chat.example', events: ['budget.reached'] }, ada);
  await setUsed(1);
  await noteBudgets(harness.ctx, harness.lead);
  const budgetEvents = async () =>
    await prisma.event.findMany({ where: { type: 'budget', data: { path: ['scope'], equals: 'owner:ada' } } });
  const before = (await budgetEvents()).length;
  // What live runs are expected to take counts as well: here it is left out, so that only the attempt does.
  await prisma.run.updateMany({ where: { id: { not: runId } }, data: { expectedGpuMs: null } });
  await prisma.run.update({ where: { id: runId }, data: { expectedGpuMs: null } });
  await setUsed(3);
  expect((await budgetOf('owner:ada'))?.state).toBe('warned');
  for (let round = 0; round < 2; round += 1) await noteBudgets(harness.ctx, harness.lead);
  expect((await budgetEvents()).length).toBe(before + 1);
  await setUsed(4.5);
  for (let round = 0; round < 2; round += 1) await noteBudgets(harness.ctx, harness.lead);
  expect((await budgetEvents()).map(({ data }) => data)).toMatchObject([
    ...Array(before).fill({}),
    { state: 'warned' },
    { state: 'spent' },
  ]);
  const messages = await prisma.delivery.findMany({ where: { subject: 'owner:ada' }, orderBy: { id: 'asc' } });
  expect(messages.slice(-2).map(({ body }) => webhookMessage.parse(body))).toMatchObject([
    { type: 'budget.reached', data: { scope: 'owner:ada', state: 'warned', warnPercent: 50, run: { owner: 'ada' } } },
    { type: 'budget.reached', data: { state: 'spent' } },
  ]);
  expect((await prisma.attempt.findUniqueOrThrow({ where: { id: attempt } })).state).toBe('running');

  const later = await submit({ set: { 'prepare.testSeed': 8 } });
  expect(await stateOf(later)).toBe('held');
  await engine.cancelRun(later, ada, '');
  expect(await stateOf(later)).toBe('cancelled');
  await engine.retryRun(later, ada, null);
  expect(await stateOf(later)).toBe('held');
  expect((await historyOf(later)).map(({ message }) => message)).toContainEqual(expect.stringMatching(/is held: the budget owner:ada/));

  const next = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1, 0, 0, 1));
  await prisma.attempt.update({ where: { id: attempt }, data: { endedAt: new Date(), state: 'succeeded' } });
  expect(await budgetOf('owner:ada', next)).toMatchObject({ state: 'open', usedHours: 0 });
  await engine.setBudget('owner:ada', { gpuHours: 0.0001, per: 'total', warnPercent: 80 }, ada);
  expect(await budgetOf('owner:ada', next)).toMatchObject({ state: 'spent', since: null });
  await engine.removeBudget('owner:ada', ada);
  await expect(engine.removeBudget('owner:ada', ada)).rejects.toMatchObject({ code: 'not_found' });
});

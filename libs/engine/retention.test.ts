import { retentionPolicy } from '@cairn/contract';
import { getRun, Prisma } from '@cairn/db';
import { newId } from '@cairn/runtime';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { collectWhenDue } from './index.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';

/** On a machine that is busy with other tests. */
vi.setConfig({ testTimeout: 90_000 });

const harness = await openEngineHarness();
afterAll(() => harness.close());
const { prisma, engine } = harness;

const policy = retentionPolicy.parse({ runsOlderThanDays: 90, keepLabels: ['keep=yes'] });
const collect = (dryRun: boolean) => engine.collectGarbage({ dryRun, olderThanHours: 0 }, ada);
const age = (runId: string, days: number) =>
  prisma.run.update({ where: { id: runId }, data: { finishedAt: new Date(Date.now() - days * 86_400_000) } });
const viewOf = (runId: string) => getRun(prisma, { projectId: 'default', runId });
const artifactOf = async (runId: string, name: string) => (await harness.step(runId, name)).artifactId ?? '';

test('old runs give up their results unless something keeps them; a dry run says what goes and stays, and why; the run still shows', async () => {
  await engine.setRetention(policy, ada);
  const old = await harness.submit({ name: 'old' });
  await harness.playAll(old);
  const aliased = await harness.submit({ name: 'aliased', set: { 'stages.second.seed': 2 }, until: ['second'] });
  await harness.play(aliased, 'second');
  const { id: stepId, artifactId } = await harness.step(aliased, 'second');
  const version = { projectId: 'default', owner: 'ada', name: 'toy', version: 2, metrics: {} };
  await prisma.model.create({ data: { id: newId('model'), ...version, runId: aliased, stepId, artifacts: { checkpoint: artifactId } } });
  await engine.setAlias({ model: 'toy', alias: 'production' }, { version: 2, reason: 'better' }, ada);
  const ended = await harness.run(old);
  for (const runId of [old, aliased]) await age(runId, 91);
  // What the aliased run reuses stays, although the run that made it is old.
  const shared = await artifactOf(old, 'first');
  const own = await artifactOf(old, 'second');
  const evaluation = await artifactOf(old, 'evaluate');
  expect(await artifactOf(aliased, 'first')).toBe(shared);

  await engine.pinRun(old, true, ada);
  const pinned = await collect(true);
  expect(pinned.artifacts).toEqual([]);
  expect(pinned.kept.find(({ id }) => id === own)?.why).toBe('of a pinned run');
  expect(pinned.totals?.kept.map(({ reason }) => reason).toSorted()).toEqual(['aliased', 'pinned']);
  await engine.pinRun(old, false, ada);
  await prisma.run.update({ where: { id: old }, data: { labels: { keep: 'yes' } } });
  expect((await collect(true)).totals?.kept).toContainEqual(expect.objectContaining({ reason: 'labelled' }));
  await prisma.run.update({ where: { id: old }, data: { labels: {} } });
  await age(old, 89);
  expect((await collect(true)).totals?.kept).toContainEqual(expect.objectContaining({ reason: 'young' }));
  await age(old, 91);

  const dry = await collect(true);
  expect(dry.runs).toMatchObject([{ id: old, name: 'old' }]);
  expect(dry.artifacts.map(({ id }) => id)).toContain(own);
  expect(dry.artifacts.map(({ id }) => id)).not.toContain(shared);
  expect(dry.artifacts.every(({ why }) => why === 'of the run old, whose results are given up')).toBe(true);
  expect(await prisma.artifact.findUnique({ where: { id: own } })).not.toBeNull();
  const wet = await collect(false);
  expect(wet.artifacts.map(({ id }) => id).toSorted()).toEqual(dry.artifacts.map(({ id }) => id).toSorted());
  expect(wet.bytes).toBe(wet.artifacts.length + wet.stagingPrefixes.length + wet.logPrefixes.length);
  const left = await prisma.artifact.findMany({ where: { id: { in: [own, shared, evaluation] } } });
  expect(left.map(({ id }) => id).toSorted()).toEqual([shared, evaluation].toSorted());
  expect((await viewOf(aliased)).stepViews.every(({ artifact }) => artifact !== null)).toBe(true);

  const view = await viewOf(old);
  expect(view).toMatchObject({ state: 'succeeded', retiredAt: expect.any(String), mapAt100: { best: ended.mapBest } });
  expect(view.stepViews.find(({ name }) => name === 'second')).toMatchObject({
    artifact: null,
    removed: { kind: 'checkpoint', bytes: expect.any(Number), at: view.retiredAt },
  });
  expect(await collect(false)).toMatchObject({ artifacts: [], runs: [] });
  await expect(engine.setAlias({ model: 'toy', alias: 'candidate' }, { version: 1, reason: 'x' }, ada)).rejects.toMatchObject({
    code: 'wrong_state',
  });
  await expect(engine.pinRun(old, true, ada)).rejects.toMatchObject({ code: 'wrong_state' });

  // The memo of what is gone never matches again, that of what is left does.
  const again = await harness.submit();
  expect(await harness.step(again, 'first')).toMatchObject({ state: 'reused', artifactId: shared });
  expect(await harness.step(again, 'second')).toMatchObject({ state: 'ready', artifact: { state: 'building', runId: again } });
  await engine.cancelRun(again, ada, '');
  await engine.retryRun(old, ada, null);
  expect(await harness.step(old, 'first')).toMatchObject({ state: 'reused', artifactId: shared, removed: null });
  expect(await harness.step(old, 'second')).toMatchObject({ state: 'ready', artifact: { state: 'building', runId: old }, removed: null });
  expect(await harness.run(old)).toMatchObject({ state: 'running', retiredAt: null });
});

test('of a stage that ended without a result the newest checkpoints stay, for a retry to continue from', async () => {
  await engine.setRetention({ ...policy, checkpoints: 2 }, ada);
  const runId = await harness.submit({ set: { 'stages.first.seed': 3 } });
  const [attempt = ''] = await harness.startAttempts(runId, 'first', 1, 'gpu');
  const keys = [1, 2, 3].map((step) => `staging/${attempt}/checkpoints/${step}.pt`);
  const items = keys.map((key, index) => ({
    type: 'checkpoint' as const,
    step: index + 1,
    epoch: 1,
    final: false,
    bytes: 1,
    sha256: `${index}`.repeat(64),
    key,
  }));
  await engine.report(attempt, 1, { seq: 1, at: new Date().toISOString(), items });
  await engine.cancelRun(runId, ada, '');
  await engine.finishAttempt(attempt, 1, { outcome: 'cancelled', message: 'stopped' });
  harness.removed.length = 0;
  await collect(false);
  expect(harness.removed).toContain(`staging/${attempt}/`);
  const left = await prisma.checkpoint.findMany({ where: { attemptId: attempt, removedAt: null }, orderBy: { step: 'asc' } });
  expect(left.map(({ key }) => key)).toEqual(keys.slice(1));
});

/** Lets `held`, which writes to a table, wait with its commit until `meanwhile` waits for it. */
async function whileCommitWaits(table: 'run' | 'audit_entry', held: () => Promise<unknown>, meanwhile: () => Promise<unknown>) {
  await prisma.$executeRaw`create function wait_to_commit() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(77); return null; end $$`;
  await prisma.$executeRaw`create constraint trigger wait_to_commit after insert on ${Prisma.raw(table)} deferrable initially deferred
    for each row when (pg_trigger_depth() = 0) execute function wait_to_commit()`;
  const waiting = (count: number) =>
    expect
      .poll(
        async () => {
          const rows = await prisma.$queryRaw<{ count: number }[]>`
        select count(*)::int as count from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
          return rows[0]?.count;
        },
        { timeout: 20_000 },
      )
      .toBe(count);
  let both: Promise<unknown>[] = [];
  await prisma.$transaction(
    async (tx) => {
      await tx.$executeRaw`select pg_advisory_xact_lock(77)`;
      both = [held()];
      await waiting(1);
      both.push(meanwhile());
      await waiting(2);
    },
    { timeout: 60_000 },
  );
  await Promise.all(both);
}
afterEach(() => prisma.$executeRaw`drop function if exists wait_to_commit cascade`);

/** A result that no run has. */
async function unreferredResult(seed: number) {
  const set = { 'prepare.testSeed': seed };
  const maker = await harness.submit({ set });
  await harness.play(maker, 'prepare');
  const artifactId = await artifactOf(maker, 'prepare');
  await engine.cancelRun(maker, ada, '');
  await prisma.step.updateMany({ where: { artifactId }, data: { artifactId: null } });
  return { set, artifactId };
}

test('a result that a run takes up is not removed by a collection that began before the run was committed', async () => {
  const { set, artifactId } = await unreferredResult(4);
  let runId = '';
  await whileCommitWaits(
    'run',
    async () => {
      runId = await harness.submit({ set });
    },
    () => collect(false),
  );
  expect(await harness.step(runId, 'prepare')).toMatchObject({ state: 'reused', artifact: { id: artifactId, state: 'ready' } });
});

test('a result that a collection removes is not taken up by a run that came before its end: the run makes its own', async () => {
  const { set, artifactId } = await unreferredResult(5);
  let runId = '';
  await whileCommitWaits(
    'audit_entry',
    () => collect(false),
    async () => {
      runId = await harness.submit({ set });
    },
  );
  expect(await prisma.artifact.findUnique({ where: { id: artifactId } })).toBeNull();
  expect(await harness.step(runId, 'prepare')).toMatchObject({ state: 'ready', artifact: { state: 'building', runId } });
});

test('the leader collects when the policy is due, once, and again after its period', async () => {
  const run = () => collectWhenDue(harness.ctx, async () => 0, harness.lead);
  await engine.setRetention({ ...policy, everyHours: 6 }, ada);
  await prisma.retention.updateMany({ data: { collectedAt: new Date() } });
  expect(await run()).toEqual([]);
  await prisma.retention.updateMany({ data: { collectedAt: new Date(Date.now() - 7 * 3_600_000) } });
  const [first, second] = await Promise.all([run(), run()]);
  expect([...first, ...second]).toHaveLength(1);
  expect(await prisma.auditEntry.findFirst({ where: { action: 'garbage.collect' }, orderBy: { id: 'desc' } })).toMatchObject({
    actor: 'cairn',
    tokenId: null,
  });
  await expect(collectWhenDue(harness.ctx, async () => 0, { ...harness.lead, epoch: 99 })).resolves.toEqual([]);
});

test('a collection that fails delays no other project and is due again; one that is told to stop stops', async () => {
  await prisma.project.create({ data: { id: 'other' } });
  for (const projectId of ['default', 'other']) await engine.setRetention({ ...policy, everyHours: 6 }, { ...ada, projectId });
  const { artifactId } = await unreferredResult(6);
  await prisma.artifact.update({ where: { id: artifactId }, data: { createdAt: new Date(Date.now() - 3 * 86_400_000) } });
  const due = () => prisma.retention.updateMany({ data: { collectedAt: null } });
  const collectedAt = async (projectId: string) => (await prisma.retention.findUniqueOrThrow({ where: { projectId } })).collectedAt;
  const collectWith = (error: Error) => collectWhenDue(harness.ctx, () => Promise.reject(error), harness.lead);

  await due();
  await expect(collectWith(new Error('the bucket is away'))).rejects.toMatchObject({
    name: 'AggregateError',
    errors: [expect.objectContaining({ message: 'the bucket is away' })],
  });
  expect(await collectedAt('default')).toBeNull();
  expect(await collectedAt('other')).not.toBeNull();
  // What is marked already is removed by the next collection, of whichever leader.
  await due();
  await expect(collectWith(new DOMException('the lead is lost', 'AbortError'))).rejects.toMatchObject({ name: 'AbortError' });
  expect(await collectedAt('default')).toBeNull();
  expect((await collectWhenDue(harness.ctx, async () => 1, harness.lead)).flatMap(({ artifacts }) => artifacts)).toMatchObject([
    { id: artifactId },
  ]);
});

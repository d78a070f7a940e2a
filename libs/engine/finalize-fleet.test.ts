import { protocol } from '@cairn/contract';
import { loadWaiting } from '@cairn/db';
import { afterAll, expect, test } from 'vitest';
import { attemptGone, createAttempts, dropStaging, pendingFinalization, unsettledRuns, settleRun } from './index.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
await harness.playAll(await harness.submit());

const gone = { cause: 'infrastructure', code: 'program_failed', message: 'killed' } as const;
const list = { list: 'index' };
let variant = 0;

/** A run whose index is extracted, and by whom: every shard is committed. */
async function wholeFleet(rejected = 0) {
  variant += 1;
  const runId = await harness.submit({ set: { 'stages.first.epochs': 100 + variant, 'extract.index.maxBadImageShare': 0.5 } });
  for (const name of ['first', 'second', 'export']) await harness.play(runId, name, String(variant));
  const [worker = ''] = await harness.startAttempts(runId, 'extract_index');
  await harness.commitAll(worker, rejected);
  const step = () => harness.step(runId, 'extract_index');
  const startFinalizing = async () => (await harness.startFinalizing(runId, 'extract_index'))[0] ?? '';
  const waiting = async () =>
    (await loadWaiting(harness.prisma)).waiting.filter((one) => one.runId === runId && one.name === 'extract_index');
  const finish = async (attempt: string, digest?: string) =>
    harness.engine.finishAttempt(attempt, 1, {
      outcome: 'succeeded',
      files: [],
      details: { digest: digest ?? (await harness.stagedDigest(attempt)) },
    });
  return { runId, worker, step, startFinalizing, waiting, finish };
}

test('a fleet with all its shards waits for a task, whatever its workers still do, and becomes a result by an attempt of its own', async () => {
  const fleet = await wholeFleet(1);
  expect(await fleet.step()).toMatchObject({ state: 'active', finalizing: true });
  expect(await fleet.waiting()).toMatchObject([{ pool: 'tasks', slots: 1, live: 0, wanted: 1, openShards: null }]);
  const attempt = await fleet.startFinalizing();
  expect(await fleet.waiting()).toEqual([]);
  expect(await harness.startFinalizing(fleet.runId, 'extract_index')).toEqual([]);

  const spec = await harness.engine.attemptSpec(attempt, 1, protocol);
  const { artifact } = await fleet.step();
  const details = {
    ...list,
    rows: 6,
    rejected: 3,
    shards: 3,
    countProof: { distinctIds: 9, rows: 6, rejected: 3, idsSha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
  };
  expect(spec).toMatchObject({ kind: 'finalize', inputs: {}, shards: 3, artifact: { id: artifact?.id, kind: 'features', details } });
  const { shards, next } = await harness.engine.stagedFiles(attempt, 1, 1);
  expect(shards.map(({ index, files }) => [index, files.length])).toEqual([
    [1, 3],
    [2, 3],
  ]);
  expect(next).toBeNull();

  await fleet.finish(attempt);
  const done = await fleet.step();
  expect(done).toMatchObject({ state: 'succeeded', artifact: { state: 'ready', fileCount: 9, details } });
  expect(done.artifact?.files).toHaveLength(9);
  // Its staged files are then dropped by whichever controller has the entry.
  expect(await harness.prisma.outbox.findFirst({ where: { queue: 'finalize', row: done.id } })).toMatchObject({ generation: 1 });
  expect((await dropStaging(harness.ctx, done.id, 1)).map(({ attemptId }) => attemptId)).toEqual([attempt]);
});

test('an attempt that made something else than what was committed is refused, and may say that it failed', async () => {
  const fleet = await wholeFleet();
  const attempt = await fleet.startFinalizing();
  await expect(fleet.finish(attempt, 'a'.repeat(64))).rejects.toMatchObject({ code: 'invalid_request' });
  await expect(harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files: [], details: {} })).rejects.toMatchObject({
    code: 'invalid_request',
  });
  expect((await fleet.step()).artifact?.state).toBe('building');
  await harness.engine.finishAttempt(attempt, 1, { outcome: 'failed', cause: 'infrastructure', code: 'internal', message: 'refused' });
  expect(await fleet.step()).toMatchObject({ state: 'active', finalizing: true, failures: { infrastructure: 1 } });
});

test('one that was killed is replaced after a pause, its shards stay, and its late end changes nothing', async () => {
  const fleet = await wholeFleet();
  const first = await fleet.startFinalizing();
  const digest = await harness.stagedDigest(first);
  await attemptGone(harness.ctx, harness.lead, { id: first, runId: fleet.runId, generation: 1 }, gone);
  expect(await fleet.step()).toMatchObject({ state: 'active', shardsCommitted: 3, failures: { infrastructure: 1 } });
  expect(await fleet.waiting()).toMatchObject([{ pool: 'tasks', notBefore: expect.any(Number) }]);
  const second = await fleet.startFinalizing();
  await expect(fleet.finish(first, digest)).rejects.toMatchObject({ code: 'superseded' });
  await fleet.finish(second);
  expect((await fleet.step()).state).toBe('succeeded');
});

test('shards whose staged files are bad are extracted again, alone, and the result gets another place', async () => {
  const fleet = await wholeFleet(1);
  await harness.engine.finishAttempt(fleet.worker, 1, { outcome: 'succeeded', files: [], details: {} });
  const before = (await fleet.step()).artifact;
  const attempt = await fleet.startFinalizing();
  const failed = { outcome: 'failed', cause: 'infrastructure', code: 'corrupt_artifact', message: 'differs' } as const;
  await harness.engine.finishAttempt(attempt, 1, { ...failed, badShards: [1, 7] });
  const step = await fleet.step();
  expect(step).toMatchObject({ finalizing: false, shardsCommitted: 2, rows: 4, rejected: 2, failures: { infrastructure: 1 } });
  expect(step.artifact).toMatchObject({ state: 'building', memoKey: before?.memoKey, prefix: `features/${step.artifactId}/` });
  expect(step.artifactId).not.toBe(before?.id);
  expect(await harness.prisma.artifact.findUnique({ where: { id: before?.id ?? '' } })).toMatchObject({ state: 'deleting' });
  expect(await fleet.waiting()).toMatchObject([{ pool: 'gpu', openShards: 1 }]);
  // What was made in the place before is of no use any more, and cannot become the result.
  const [worker = ''] = await harness.startAttempts(fleet.runId, 'extract_index');
  expect((await harness.engine.claimShard(worker, 1, { holding: [] })).shard).toMatchObject({ index: 1, tries: 2 });
  await harness.engine.releaseShard(worker, 1, 1);
  await harness.commitAll(worker, 1, 'again');
  const again = await fleet.startFinalizing();
  await fleet.finish(again);
  expect(await fleet.step()).toMatchObject({ state: 'succeeded', artifactId: step.artifactId, rows: 6 });
});

test('a cancel while a fleet is finalized asks the attempt to stop, and gives the result up', async () => {
  const fleet = await wholeFleet();
  const attempt = await fleet.startFinalizing();
  const { artifactId } = await fleet.step();
  await harness.engine.cancelRun(fleet.runId, ada, '');
  await harness.engine.finishAttempt(fleet.worker, 1, { outcome: 'cancelled', message: 'stopped' });
  expect(await harness.engine.report(attempt, 1, { seq: 1, at: new Date().toISOString(), items: [] })).toMatchObject({ directive: 'stop' });
  await harness.engine.finishAttempt(attempt, 1, { outcome: 'cancelled', message: 'stopped' });
  expect((await harness.run(fleet.runId)).state).toBe('cancelled');
  expect(await harness.prisma.artifact.findUnique({ where: { id: artifactId ?? '' } })).toMatchObject({ state: 'deleting' });
});

test('shards that are not the list, cut without a gap, fail the step', async () => {
  const fleet = await wholeFleet();
  const { id } = await fleet.step();
  await harness.prisma.shard.update({ where: { stepId_index: { stepId: id, index: 1 } }, data: { fromRow: 4 } });
  await harness.prisma.step.update({ where: { id }, data: { finalizing: false } });
  expect(await unsettledRuns(harness.ctx)).toContain(fleet.runId);
  await settleRun(harness.ctx, fleet.runId);
  expect(await fleet.step()).toMatchObject({
    finalizing: false,
    failure: { code: 'corrupt_artifact', message: expect.stringContaining('do not make up the 9 images of the list') },
  });
});

test('a shard is committed with its own files alone', async () => {
  const fleet = await wholeFleet();
  const { id } = await fleet.step();
  await harness.prisma.shard.update({
    where: { stepId_index: { stepId: id, index: 2 } },
    data: { state: 'leased', attemptId: fleet.worker },
  });
  const parts = (index: number, hasRejected: boolean) => harness.partsOf(fleet.worker, index, hasRejected, 'again');
  const commit = { rows: 3, rejected: 0, idsSha256: 'a'.repeat(64), seconds: { read: 0, decode: 0, infer: 0, write: 0 } };
  for (const files of [[], parts(1, false), parts(2, true), [...parts(2, false), ...parts(1, false)]])
    await expect(harness.engine.commitShard(fleet.worker, 1, 2, { ...commit, files })).rejects.toMatchObject({ code: 'invalid_request' });
  // A worker of the release before has a file of no rejected images, and says nothing of ids.
  await harness.engine.commitShard(fleet.worker, 1, 2, { ...commit, idsSha256: null, files: parts(2, true) });
});

test('no worker is started for a fleet that has all its shards, and no task for one that has not', async () => {
  const fleet = await wholeFleet();
  const { id } = await fleet.step();
  expect(await createAttempts(harness.ctx, harness.lead, fleet.runId, id, 'local', 1)).toBe(0);
  expect(await pendingFinalization(harness.ctx, id, 1)).toBeNull();
  await harness.prisma.step.update({ where: { id }, data: { finalizing: false, shardsCommitted: 2 } });
  expect(await createAttempts(harness.ctx, harness.lead, fleet.runId, id, 'tasks', 1)).toBe(0);
});

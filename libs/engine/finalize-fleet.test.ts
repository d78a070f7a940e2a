import { protocol } from '@cairn/contract';
import { afterAll, expect, test } from 'vitest';
import { attemptGone, createAttempts, dropStaging, pendingFinalization, settleRun, unsettledRuns } from './index.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';
import { wholeFleet } from './testing/whole-fleet.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
await harness.playAll(await harness.submit());

const gone = { cause: 'infrastructure', code: 'program_failed', message: 'killed' } as const;
const list = { list: 'index' };

test('a complete fleet waits for a task slot, even while its workers are still ending, and a separate attempt makes the result', async () => {
  const fleet = await wholeFleet(harness, 1);
  expect(await fleet.step()).toMatchObject({ state: 'active', finalizing: true });
  expect(await fleet.waiting()).toMatchObject([{ pool: 'tasks', slots: 1, live: 0, wanted: 1, openShards: null }]);
  const attempt = await fleet.startFinalizing();
  expect(await fleet.waiting()).toEqual([]);
  expect(await harness.startFinalizing(fleet.runId, 'extract_index')).toEqual([]);

  const spec = await harness.engine.attemptSpec(attempt, 1, protocol);
  const { artifact } = await fleet.step();
  const details = {
    ...list,
    model: (await harness.step(fleet.runId, 'export')).artifact?.digest,
    preprocessing: 'cairn',
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
  // The controller that takes the entry then removes the staged files.
  expect(await harness.prisma.outbox.findFirst({ where: { queue: 'finalize', row: done.id } })).toMatchObject({ generation: 1 });
  expect((await dropStaging(harness.ctx, done.id, 1)).map(({ attemptId }) => attemptId)).toEqual([attempt]);
});

test('an attempt whose result differs from what was committed is rejected, and may report that it failed', async () => {
  const fleet = await wholeFleet(harness);
  const attempt = await fleet.startFinalizing();
  await expect(fleet.finish(attempt, 'a'.repeat(64))).rejects.toMatchObject({ code: 'invalid_request' });
  await expect(harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files: [], details: {} })).rejects.toMatchObject({
    code: 'invalid_request',
  });
  expect((await fleet.step()).artifact?.state).toBe('building');
  await harness.engine.finishAttempt(attempt, 1, { outcome: 'failed', cause: 'infrastructure', code: 'internal', message: 'refused' });
  expect(await fleet.step()).toMatchObject({ state: 'active', finalizing: true, failures: { infrastructure: 1 } });
});

test('a killed finalizing attempt is replaced after a delay, its shards are kept, and its late report changes nothing', async () => {
  const fleet = await wholeFleet(harness);
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

test('only shards with bad staged files are extracted again, and the result gets a new prefix', async () => {
  const fleet = await wholeFleet(harness, 1);
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
  // What was made under the old prefix cannot become the result.
  const [worker = ''] = await harness.startAttempts(fleet.runId, 'extract_index');
  expect((await harness.engine.claimShard(worker, 1, { holding: [] })).shard).toMatchObject({ index: 1, tries: 2 });
  await harness.engine.releaseShard(worker, 1, 1);
  await harness.commitAll(worker, 1, 'again');
  const again = await fleet.startFinalizing();
  await fleet.finish(again);
  expect(await fleet.step()).toMatchObject({ state: 'succeeded', artifactId: step.artifactId, rows: 6 });
});

test('a cancel while a fleet is finalized asks the attempt to stop, and abandons the result', async () => {
  const fleet = await wholeFleet(harness);
  const attempt = await fleet.startFinalizing();
  const { artifactId } = await fleet.step();
  await harness.engine.cancelRun(fleet.runId, ada, '');
  await harness.engine.finishAttempt(fleet.worker, 1, { outcome: 'cancelled', message: 'stopped' });
  expect(await harness.engine.report(attempt, 1, { seq: 1, at: new Date().toISOString(), items: [] })).toMatchObject({ directive: 'stop' });
  await harness.engine.finishAttempt(attempt, 1, { outcome: 'cancelled', message: 'stopped' });
  expect((await harness.run(fleet.runId)).state).toBe('cancelled');
  expect(await harness.prisma.artifact.findUnique({ where: { id: artifactId ?? '' } })).toMatchObject({ state: 'deleting' });
});

test('shards that do not cover the list exactly fail the step', async () => {
  const fleet = await wholeFleet(harness);
  const { id } = await fleet.step();
  await harness.prisma.shard.update({ where: { stepId_index: { stepId: id, index: 1 } }, data: { fromRow: 4 } });
  await harness.prisma.step.update({ where: { id }, data: { finalizing: false } });
  expect(await unsettledRuns(harness.ctx)).toContain(fleet.runId);
  await settleRun(harness.ctx, fleet.runId);
  expect(await fleet.step()).toMatchObject({
    finalizing: false,
    failure: { code: 'corrupt_artifact', message: expect.stringContaining('do not add up to the 9 images of the list') },
  });
});

test('a shard can only be committed with its own files', async () => {
  const fleet = await wholeFleet(harness);
  const { id } = await fleet.step();
  await harness.prisma.shard.update({
    where: { stepId_index: { stepId: id, index: 2 } },
    data: { state: 'leased', attemptId: fleet.worker },
  });
  const parts = (index: number, hasRejected: boolean) => harness.partsOf(fleet.worker, index, hasRejected, 'again');
  const commit = { rows: 3, rejected: 0, idsSha256: 'a'.repeat(64), seconds: { read: 0, decode: 0, infer: 0, write: 0 } };
  for (const files of [[], parts(1, false), parts(2, true), [...parts(2, false), ...parts(1, false)]])
    await expect(harness.engine.commitShard(fleet.worker, 1, 2, { ...commit, files })).rejects.toMatchObject({ code: 'invalid_request' });
  // A worker of the previous release sends a file for zero rejected images, and no digest of ids.
  await harness.engine.commitShard(fleet.worker, 1, 2, { ...commit, idsSha256: null, files: parts(2, true) });
});

test('no worker is started for a complete fleet, and no finalizing task for an incomplete one', async () => {
  const fleet = await wholeFleet(harness);
  const { id } = await fleet.step();
  expect(await createAttempts(harness.ctx, harness.lead, fleet.runId, id, 'local', 1)).toBe(0);
  expect(await pendingFinalization(harness.ctx, id, 1)).toBeNull();
  await harness.prisma.step.update({ where: { id }, data: { finalizing: false, shardsCommitted: 2 } });
  expect(await createAttempts(harness.ctx, harness.lead, fleet.runId, id, 'tasks', 1)).toBe(0);
});

import { protocol } from '@cairn/contract';
import { loadWaiting } from '@cairn/db';
import { newId, sha256 } from '@cairn/runtime';
import { afterAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { attemptGone, createAttempts, dropStaging, pendingFinalization, settleRun, unsettledRuns } from './index.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
await harness.playAll(await harness.submit());

const gone = { cause: 'infrastructure', code: 'program_failed', message: 'killed' } as const;
const list = { list: 'index' };
let variant = 0;

/** A run that has reached its extractions. */
async function atExtraction(): Promise<string> {
  variant += 1;
  const runId = await harness.submit({ set: { 'stages.first.epochs': 100 + variant } });
  for (const name of ['first', 'second', 'export']) await harness.play(runId, name, String(variant));
  return runId;
}

const claim = (attempt: string, holding: number[] = []) => harness.engine.claimShard(attempt, 1, { holding });

/** A run whose index is extracted, with every shard committed, and the worker that did it. */
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

describe('shards', () => {
  test('are each leased to one attempt and counted when committed', async () => {
    const runId = await atExtraction();
    const attempts = await harness.startAttempts(runId, 'extract_index', 2);
    const claims = await Promise.all(attempts.map((attempt) => claim(attempt)));
    expect(new Set(claims.map((claim) => claim.shard?.index)).size).toBe(2);
    expect(
      await harness.prisma.shard.findMany({
        where: { step: { runId, name: 'extract_index' } },
        orderBy: { index: 'asc' },
        select: { fromRow: true, count: true },
      }),
    ).toEqual([
      { fromRow: 0, count: 3 },
      { fromRow: 3, count: 3 },
      { fromRow: 6, count: 3 },
    ]);
    for (const attempt of attempts) await harness.commitAll(attempt);
    expect(await harness.step(runId, 'extract_index')).toMatchObject({ shardsCommitted: 3, rows: 9, rejected: 0 });
    expect((await claim(attempts[0] ?? '')).done).toBe(true);
  });

  test('are leased one by one to a worker with several GPUs, and are handed out first again after it lost them', async () => {
    const runId = await atExtraction();
    const [worker = '', other = ''] = await harness.startAttempts(runId, 'extract_index', 2);
    const indexOf = async (attempt: string, holding: number[]) => (await claim(attempt, holding)).shard?.index ?? null;
    expect(await indexOf(worker, [])).toBe(0);
    expect(await indexOf(worker, [0])).toBe(1);
    await harness.engine.releaseShard(worker, 1, 0);
    // The process restarted, or an answer was lost: first the shard that it holds, then the free one.
    expect((await claim(worker)).shard).toMatchObject({ index: 1, tries: 1 });
    expect((await claim(worker, [1])).shard).toMatchObject({ index: 0, tries: 2 });
    expect(await indexOf(worker, [0, 1])).toBe(2);
    expect(await claim(worker, [0, 1, 2])).toMatchObject({ shard: null, done: false });
    expect(await indexOf(other, [])).toBeNull();
  });

  test('become free when their attempt is gone, and its late commit is rejected', async () => {
    const runId = await atExtraction();
    const [first = ''] = await harness.startAttempts(runId, 'extract_query');
    const { shard } = await claim(first);
    await attemptGone(harness.ctx, harness.lead, { id: first, runId, generation: 1 }, gone);
    const commit = { rows: 2, rejected: 0, files: [], idsSha256: null, seconds: { read: 0, decode: 0, infer: 0, write: 0 } };
    await expect(harness.engine.commitShard(first, 1, shard?.index ?? 0, commit)).rejects.toMatchObject({ code: 'superseded' });
    const [second = ''] = await harness.startAttempts(runId, 'extract_query');
    expect((await claim(second)).shard).toMatchObject({ index: 0, tries: 2 });
  });

  test('cannot be committed by an attempt that no longer holds them, or with counts that do not add up', async () => {
    const runId = await atExtraction();
    const [a = '', b = ''] = await harness.startAttempts(runId, 'extract_index', 2);
    const { shard } = await claim(a);
    const commit = { rows: 3, rejected: 0, files: [], idsSha256: null, seconds: { read: 0, decode: 0, infer: 0, write: 0 } };
    await expect(harness.engine.commitShard(b, 1, shard?.index ?? 0, commit)).rejects.toMatchObject({ code: 'lease_lost' });
    await expect(harness.engine.commitShard(a, 1, shard?.index ?? 0, { ...commit, rows: 2 })).rejects.toMatchObject({
      code: 'invalid_request',
    });
    await harness.engine.commitShard(a, 1, shard?.index ?? 0, commit);
    await harness.engine.commitShard(a, 1, shard?.index ?? 0, commit);
    expect((await harness.step(runId, 'extract_index')).shardsCommitted).toBe(1);
  });

  test('fail the step when too many images are unreadable', async () => {
    const runId = await atExtraction();
    const [attempt = ''] = await harness.startAttempts(runId, 'extract_index');
    await harness.commitAll(attempt, 1);
    expect(await harness.step(runId, 'extract_index')).toMatchObject({ failures: { data: 1 }, failure: { code: 'too_many_bad_images' } });
    await harness.engine.finishAttempt(attempt, 1, { outcome: 'preempted', message: 'stopped' });
    expect(await harness.step(runId, 'extract_index')).toMatchObject({ state: 'failed', failure: { code: 'too_many_bad_images' } });
  });

  test('of a silent attempt go to another only after their lease expired', async () => {
    const runId = await atExtraction();
    const [a = '', b = ''] = await harness.startAttempts(runId, 'extract_index', 2);
    for (let index = 0; index < 3; index += 1) {
      const { shard } = await claim(index === 0 ? a : b);
      if (index > 0)
        await harness.engine.commitShard(b, 1, shard?.index ?? 0, {
          rows: 3,
          rejected: 0,
          files: [],
          idsSha256: null,
          seconds: { read: 0, decode: 0, infer: 0, write: 0 },
        });
    }
    await harness.prisma.shard.updateMany({ where: { attemptId: a }, data: { leaseUntil: new Date(0) } });
    expect((await claim(b)).shard).toBeNull();
    await harness.prisma.attempt.update({ where: { id: a }, data: { contact: 'silent' } });
    expect((await claim(b)).shard).toMatchObject({ tries: 2 });
  });
});

describe('a slow shard', () => {
  const commitOf = (attempt: string, index: number) => ({
    ...{ rows: 3, rejected: 0, files: harness.partsOf(attempt, index, false, 'ids'), idsSha256: null },
    seconds: { read: 0, decode: 0, infer: 0, write: 0 },
  });

  /** Two workers, of which the first has had its shard for long while the second did the others. */
  async function straggling() {
    const runId = await atExtraction();
    const [slow = '', fast = ''] = await harness.startAttempts(runId, 'extract_index', 2);
    const index = (await claim(slow)).shard?.index ?? -1;
    for (let other = 0; other < 2; other += 1) {
      const taken = (await claim(fast)).shard?.index ?? -1;
      await harness.engine.commitShard(fast, 1, taken, commitOf(fast, taken));
    }
    expect((await claim(fast)).shard).toBeNull();
    await harness.prisma.shard.updateMany({ where: { attemptId: slow }, data: { leasedAt: new Date(Date.now() - 3_600_000) } });
    const backup = (await claim(fast)).shard;
    expect(backup).toMatchObject({ index, tries: 2, resumeFrom: null });
    return { runId, slow, fast, index };
  }

  test('is given to an idle worker too, and the first commit counts', async () => {
    const { runId, slow, fast, index } = await straggling();
    // An answer was lost: the same shard again. No third worker gets it.
    expect((await claim(fast)).shard?.index).toBe(index);
    await harness.engine.commitShard(fast, 1, index, commitOf(fast, index));
    await expect(harness.engine.commitShard(slow, 1, index, commitOf(slow, index))).rejects.toMatchObject({ code: 'lease_lost' });
    expect(await harness.step(runId, 'extract_index')).toMatchObject({ shardsCommitted: 3, rows: 9, finalizing: true });
    const staged = (await harness.engine.stagedFiles((await harness.startFinalizing(runId, 'extract_index'))[0] ?? '', 1, 0)).shards;
    expect(staged[index]?.files[0]?.key).toContain(fast);
  });

  test('stays with its first holder when that one is faster, or the other one ends', async () => {
    const { runId, slow, fast, index } = await straggling();
    await attemptGone(harness.ctx, harness.lead, { id: fast, runId, generation: 1 }, gone);
    await harness.engine.commitShard(slow, 1, index, commitOf(slow, index));
    expect(await harness.step(runId, 'extract_index')).toMatchObject({ shardsCommitted: 3 });
  });

  test('is that of the other one when its first holder ends', async () => {
    const { runId, slow, fast, index } = await straggling();
    await attemptGone(harness.ctx, harness.lead, { id: slow, runId, generation: 1 }, gone);
    await harness.engine.commitShard(fast, 1, index, commitOf(fast, index));
    expect(await harness.step(runId, 'extract_index')).toMatchObject({ shardsCommitted: 3 });
  });
});

test('the next holder of a shard learns where the last one kept what it had finished', async () => {
  const runId = await atExtraction();
  const [first = '', second = ''] = await harness.startAttempts(runId, 'extract_index', 2);
  const index = (await claim(first)).shard?.index ?? -1;
  await harness.engine.releaseShard(first, 1, index);
  expect((await claim(second)).shard).toMatchObject({ index, resumeFrom: `staging/${first}/` });
});

describe('an extraction goes on from', () => {
  const specOf = async (runId: string) => {
    const [attempt = ''] = await harness.startAttempts(runId, 'extract_index');
    return { attempt, spec: await harness.engine.attemptSpec(attempt, 1, protocol) };
  };

  test('the set of the list before it changed, unless nothing is to be reused', async () => {
    variant += 1;
    const change = { set: { 'stages.first.epochs': 100 + variant } };
    const before = await harness.submit(change);
    await harness.playAll(before);
    const set = await harness.step(before, 'extract_index');
    // The list of the set was another one.
    const key = sha256('another list');
    const { memoParts } = await harness.prisma.artifact.findUniqueOrThrow({ where: { id: set.artifactId ?? '' } });
    const parts = z.looseObject({ inputs: z.record(z.string(), z.string()) }).parse(memoParts);
    const changed = { ...parts, inputs: { ...parts.inputs, 'lists.index': key } };
    await harness.prisma.artifact.update({ where: { id: set.artifactId ?? '' }, data: { memoKey: key, memoParts: changed } });
    const lists = { lists: { index: { rows: 8, distinct: 8, classes: null, sha256: key } } };
    await harness.prisma.artifact.create({
      data: {
        id: newId('artifact'),
        projectId: 'default',
        kind: 'lists',
        state: 'ready',
        prefix: 'lists/before/',
        stepName: 'x',
        details: lists,
      },
    });

    const runId = await harness.submit(change);
    const expected = { id: set.artifactId, prefix: set.artifact?.prefix, listKey: 'lists/before/lists/index.parquet', keepsRejected: true };
    const { attempt, spec } = await specOf(runId);
    expect(spec).toMatchObject({ earlier: expected });
    await harness.engine.finishAttempt(attempt, 1, { outcome: 'preempted', message: 'stopped' });
    const anew = await harness.submit({ ...change, noReuse: ['extract_index'] });
    expect((await specOf(anew)).spec).toMatchObject({ earlier: null });
  });

  test('its own set when rejected images are to be read again, and what depends on it runs again only where it has changed', async () => {
    const fleet = await wholeFleet(1);
    await fleet.finish(await fleet.startFinalizing());
    await harness.playAll(fleet.runId);
    const { artifactId } = await fleet.step();
    await harness.engine.retryRun(fleet.runId, ada, null, { rejected: true });
    const states = async () =>
      Object.fromEntries((await harness.prisma.step.findMany({ where: { runId: fleet.runId } })).map(({ name, state }) => [name, state]));
    expect(await states()).toMatchObject({ export: 'succeeded', extract_query: 'succeeded', extract_index: 'ready', search: 'blocked' });
    const { attempt, spec } = await specOf(fleet.runId);
    expect(spec).toMatchObject({ earlier: { id: artifactId, keepsRejected: false } });
    await harness.commitAll(attempt, 1);
    const [finalizer = ''] = await harness.startFinalizing(fleet.runId, 'extract_index');
    await fleet.finish(finalizer);
    // The same images were rejected, so the search has the same inputs.
    expect(await states()).toMatchObject({ extract_index: 'succeeded', search: 'reused', evaluate: 'reused' });
  });

  test('nothing where nothing was rejected, which is an error', async () => {
    const runId = await harness.submit();
    await harness.playAll(runId);
    await expect(harness.engine.retryRun(runId, ada, null, { rejected: true })).rejects.toMatchObject({
      code: 'wrong_state',
      message: expect.stringContaining('no extraction of run'),
    });
  });
});

test('a complete fleet waits for a task slot, even while its workers are still ending, and a separate attempt makes the result', async () => {
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

test('a killed finalizing attempt is replaced after a delay, its shards are kept, and its late report changes nothing', async () => {
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

test('only shards with bad staged files are extracted again, and the result gets a new prefix', async () => {
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

test('shards that do not cover the list exactly fail the step', async () => {
  const fleet = await wholeFleet();
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
  // A worker of the previous release sends a file for zero rejected images, and no digest of ids.
  await harness.engine.commitShard(fleet.worker, 1, 2, { ...commit, idsSha256: null, files: parts(2, true) });
});

test('no worker is started for a complete fleet, and no finalizing task for an incomplete one', async () => {
  const fleet = await wholeFleet();
  const { id } = await fleet.step();
  expect(await createAttempts(harness.ctx, harness.lead, fleet.runId, id, 'local', 1)).toBe(0);
  expect(await pendingFinalization(harness.ctx, id, 1)).toBeNull();
  await harness.prisma.step.update({ where: { id }, data: { finalizing: false, shardsCommitted: 2 } });
  expect(await createAttempts(harness.ctx, harness.lead, fleet.runId, id, 'tasks', 1)).toBe(0);
});

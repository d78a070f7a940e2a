import { protocol } from '@cairn/contract';
import { newId, sha256 } from '@cairn/runtime';
import { afterAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { attemptGone } from './index.ts';
import { ada, openEngineHarness } from './testing/engine-harness.ts';
import { wholeFleet } from './testing/whole-fleet.ts';

const harness = await openEngineHarness();
afterAll(() => harness.close());
await harness.playAll(await harness.submit());

const gone = { cause: 'infrastructure', code: 'program_failed', message: 'killed' } as const;
const _list = { list: 'index' };
let variant = 0;

/** A run that has reached its extractions. */
async function atExtraction(): Promise<string> {
  variant += 1;
  const runId = await harness.submit({ set: { 'stages.first.epochs': 100 + variant } });
  for (const name of ['first', 'second', 'export']) await harness.play(runId, name, String(variant));
  return runId;
}

const claim = (attempt: string, holding: number[] = []) => harness.engine.claimShard(attempt, 1, { holding });

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

  test('are announced to those who watch the run when they are leased and committed, and by nothing that is refused', async () => {
    const runId = await atExtraction();
    const [worker = ''] = await harness.startAttempts(runId, 'extract_index');
    const { id: stepId } = await harness.step(runId, 'extract_index');
    const hints = await harness.collectHints();
    const commit = { rows: 3, rejected: 0, files: [], idsSha256: null, seconds: { read: 0, decode: 0, infer: 0, write: 0 } };
    await expect(harness.engine.claimShard(worker, 2, { holding: [] })).rejects.toMatchObject({ code: 'superseded' });
    await expect(harness.engine.claimShard(newId('attempt'), 1, { holding: [] })).rejects.toMatchObject({ code: 'not_found' });
    await expect(harness.engine.commitShard(worker, 1, 99, commit)).rejects.toMatchObject({ code: 'not_found' });
    await expect(harness.engine.commitShard(worker, 1, 0, commit)).rejects.toMatchObject({ code: 'lease_lost' });
    await claim(worker);
    await harness.engine.commitShard(worker, 1, 0, commit);
    const hint = { topic: `run:${runId}`, runId, stepId, what: 'shards' };
    await expect.poll(() => hints, { timeout: 45_000 }).toEqual([hint, hint]);
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
    const fleet = await wholeFleet(harness, 1);
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
    const runId = await harness.submit({ set: { 'stages.first.epochs': 77 } });
    await harness.playAll(runId);
    await expect(harness.engine.retryRun(runId, ada, null, { rejected: true })).rejects.toMatchObject({
      code: 'wrong_state',
      message: expect.stringContaining('no extraction of run'),
    });
  });
});

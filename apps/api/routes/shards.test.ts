import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { partFile, rejectedPage, shardGrid } from '@cairn/contract';
import { openParquet } from '@cairn/retrieval/scores';
import { sha256File } from '@cairn/runtime';
import { afterAll, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, store, call, callAsAttempt, openReplica, secrets } = await openTestApi();
const folder = await mkdtemp(join(tmpdir(), 'cairn-shards-'));
afterAll(() => rm(folder, { recursive: true }));

const get = (runId: string, path: string, query: Record<string, string> = {}) =>
  call('viewer', 'GET', `/v1/runs/${runId}/steps/extract_index/${path}`, { query });
const grid = async (runId: string) => shardGrid.parse((await get(runId, 'shards/grid')).json);

/** A run whose extraction of the index can start. */
async function aRun(name: string): Promise<string> {
  const runId = await harness.submit({ name, noReuse: true });
  for (const step of ['prepare', 'first', 'second', 'export']) await harness.play(runId, step);
  return runId;
}

test('a grid has every shard with its worker and time, the rate of the last minutes, and what is proved', async () => {
  const runId = await aRun('fleet');
  const [one = '', two = ''] = await harness.startAttempts(runId, 'extract_index', 2);
  const { engine } = harness;
  await engine.claimShard(one, 1, { holding: [] });
  await engine.claimShard(two, 1, { holding: [] });
  const seconds = { read: 1, decode: 2, infer: 3.04, write: 0 };
  const files = harness.partsOf(one, 0, true, 'ids');
  await engine.commitShard(one, 1, 0, { rows: 2, rejected: 1, files, idsSha256: 'a'.repeat(64), seconds });

  const view = await grid(runId);
  expect(view).toMatchObject({
    counts: { total: 3, committed: 1, leased: 1, rows: 2, rejected: 1 },
    images: 9,
    ...{ states: [2, 1, 0], workers: [0, 1, -1], tenths: [60, -1, -1], rejected: [1, 0, 0], tries: [1, 1, 0] },
    proof: '1 of 3 shards are committed: 2 rows + 1 rejected = 3 of 9 images; 6 are open.',
  });
  expect(view.attempts).toMatchObject([
    { id: one, ordinal: 1, isLive: true, shards: 1, images: 3, seconds },
    { id: two, shards: 0, images: 0 },
  ]);
  expect(view.rate).toBeGreaterThan(0);
  expect(view.etaSeconds).toBeCloseTo(6 / (view.rate ?? 1));

  await engine.releaseShard(two, 1, 1);
  await harness.commitAll(one);
  const ended = await grid(runId);
  expect(ended).toMatchObject({ states: [2, 2, 2], rate: null, etaSeconds: null });
  expect(ended.proof).toContain('All shards are committed: 8 rows + 1 rejected = 9, as many as the list has distinct images');
  expect((await call('viewer', 'GET', `/v1/runs/${runId}/steps/export/shards/grid`)).json).toMatchObject({ status: 409 });
});

test('rejected images come in pages over the files of the shards, with their reasons', async () => {
  const runId = await aRun('with-faults');
  const [attempt = ''] = await harness.startAttempts(runId, 'extract_index');
  await harness.commitAll(attempt, 2);
  const parquet = await openParquet();
  const { id: stepId } = await harness.step(runId, 'extract_index');
  for (const index of [0, 1, 2]) {
    const name = partFile('rejected', index);
    const path = join(folder, `rejected-${index}.parquet`);
    const rows = [0, 1].map((at) => [`bad${index}${at}`, `index/b/a/d/bad${index}${at}.jpg`, at === 0 ? 'the file is empty' : 'truncated']);
    await parquet.write({ path, columns: { image_id: 'text', path: 'text', reason: 'text' }, rows });
    const bytes = await readFile(path);
    const key = `staging/${attempt}/${name}`;
    await store.put(key, bytes);
    const file = { name, key, bytes: bytes.length, sha256: await sha256File(path) };
    await prisma.shard.update({ where: { stepId_index: { stepId, index } }, data: { files: [file] } });
  }
  await parquet.close();

  const seen: string[] = [];
  let cursor: string | null = null;
  do {
    const page = rejectedPage.parse((await get(runId, 'rejected', { limit: '3', ...(cursor === null ? {} : { cursor }) })).json);
    expect(page).toMatchObject({ total: 6, dataset: 'toy@1' });
    seen.push(...page.items.map(({ shard, imageId, reason }) => `${shard} ${imageId} ${reason}`));
    cursor = page.nextCursor;
  } while (cursor !== null);
  expect(seen).toEqual([
    '0 bad00 the file is empty',
    '0 bad01 truncated',
    '1 bad10 the file is empty',
    '1 bad11 truncated',
    '2 bad20 the file is empty',
    '2 bad21 truncated',
  ]);
});

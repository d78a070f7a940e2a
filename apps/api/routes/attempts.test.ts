import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attemptFileList, logPage, partFile, rejectedPage, shardGrid } from '@cairn/contract';
import { openParquet } from '@cairn/retrieval/scores';
import { sha256File } from '@cairn/runtime';
import { keepTensorBoardFiles, tensorBoardFolders } from '@cairn/storage';
import { waitFor } from '@cairn/testing';
import { afterAll, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, store, call, callAsAttempt, openReplica, secrets } = await openTestApi();

let variant = 0;
async function runningAttempt() {
  variant += 1;
  const runId = await harness.submit({ set: { 'prepare.testSeed': variant } });
  const [attemptId = ''] = await harness.startAttempts(runId, 'prepare');
  let seq = 0;
  let offset = 0;
  const write = async (text: string) => {
    seq += 1;
    const items = [{ type: 'log', stream: 'stdout', offset, text }];
    offset += Buffer.byteLength(text);
    return callAsAttempt(attemptId, 'POST', '/reports', { body: { seq, at: new Date().toISOString(), items } });
  };
  const finish = () => callAsAttempt(attemptId, 'POST', '/finish', { body: { outcome: 'preempted', message: '' } });
  const follow = async (from: number, waitSeconds = 20) => {
    const begin = performance.now();
    const answer = await call('viewer', 'GET', `/v1/attempts/${attemptId}/logs`, {
      query: { offset: String(from), waitSeconds: String(waitSeconds) },
    });
    return { ...logPage.parse(answer.json), ms: performance.now() - begin };
  };
  return { attemptId, write, finish, follow };
}

test('a long poll is answered as soon as something is written, even through another replica', async () => {
  const { follow, write } = await runningAttempt();
  const waiting = follow(0);
  await write('hello\n');
  const page = await waiting;
  expect(page).toMatchObject({ text: 'hello\n', nextOffset: 6, end: false });
  expect(page.ms).toBeLessThan(4_000);
});

test('a long poll is answered when the attempt ends', async () => {
  const { follow, write, finish } = await runningAttempt();
  await write('bye\n');
  const waiting = follow(4);
  await finish();
  const page = await waiting;
  expect(page).toMatchObject({ text: '', nextOffset: 4, end: true });
  expect(page.ms).toBeLessThan(4_000);
});

test('a long poll without news is answered after its time limit', async () => {
  const { follow } = await runningAttempt();
  const page = await follow(0, 0.3);
  expect(page).toMatchObject({ text: '', nextOffset: 0, end: false });
  expect(page.ms).toBeGreaterThan(290);
});

test('a log that grows in small pieces is read completely and only once', async () => {
  const { follow, write, finish } = await runningAttempt();
  const pieces = Array.from({ length: 30 }, (_, n) => `line ${n} with ü\n`);
  const writing = (async () => {
    for (const piece of pieces) await write(piece);
    await finish();
  })();
  let text = '';
  for (let offset = 0, end = false; !end; ) {
    const page = await follow(offset);
    expect(page.offset).toBe(offset);
    text += page.text;
    offset = page.nextOffset;
    end = page.end;
  }
  await writing;
  expect(text).toBe(pieces.join(''));
});

test('a closing server does not wait for long polls', async () => {
  const { attemptId } = await runningAttempt();
  const { api, close } = await openReplica();
  const url = await api.listen({ host: '127.0.0.1', port: 0 });
  const answer = fetch(`${url}/v1/attempts/${attemptId}/logs?waitSeconds=30`, { headers: { authorization: `Bearer ${secrets.viewer}` } });
  await waitFor(() => new Promise<number>((resolve) => api.server.getConnections((_, count) => resolve(count))), {
    message: 'the long poll to begin',
  });
  const begin = performance.now();
  await Promise.all([close(), answer.then((response) => response.text())]);
  expect(performance.now() - begin).toBeLessThan(4_000);
});

const name = 'events.out.tfevents.1767322985.7';

/** A running attempt at a training stage that has staged its curves. */
async function attemptWithCurves(): Promise<string> {
  const runId = await harness.submit();
  await harness.play(runId, 'prepare');
  const [id = ''] = await harness.startAttempts(runId, 'first');
  await store.put(`${tensorBoardFolders(id).staged}/${name}`, Buffer.from([0, 255, 10]));
  return id;
}

const trained = await attemptWithCurves();

test("an attempt's event files can be listed and downloaded, even after its staging folder is removed", async () => {
  const check = async () => {
    const list = await call('viewer', 'GET', `/v1/attempts/${trained}/tensorboard`);
    const file = await call('viewer', 'GET', `/v1/attempts/${trained}/tensorboard/${name}`);
    expect(attemptFileList.parse(list.json).items).toMatchObject([{ name, bytes: 3 }]);
    expect(file).toMatchObject({ status: 200, headers: { 'content-type': 'application/octet-stream', 'content-length': '3' } });
  };
  await check();
  await keepTensorBoardFiles(store, trained);
  await store.removePrefix(`staging/${trained}`);
  await check();
});

test('a missing file, a file outside the folder, and an unknown attempt are rejected', async () => {
  const base = `/v1/attempts/${trained}/tensorboard`;
  expect((await call('viewer', 'GET', `${base}/other`)).json).toMatchObject({
    code: 'not_found',
    detail: expect.stringContaining('no event file other'),
  });
  expect((await call('viewer', 'GET', `${base}/..%2Fcheckpoint.pt`)).status).toBe(400);
  expect((await call(null, 'GET', base)).status).toBe(401);
  expect((await call('viewer', 'GET', '/v1/attempts/att_01kaz4m8q2v7c9x3t5b6n8w0yd/tensorboard')).status).toBe(404);
});

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

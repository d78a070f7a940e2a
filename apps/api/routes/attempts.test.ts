import { logPage, attemptFileList } from '@cairn/contract';
import { waitFor } from '@cairn/testing';
import { expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';
import { keepTensorBoardFiles, tensorBoardFolders } from '@cairn/storage';

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

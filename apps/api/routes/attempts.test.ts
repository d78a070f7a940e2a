import { logPage } from '@cairn/contract';
import { waitFor } from '@cairn/testing';
import { expect, test } from 'vitest';
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

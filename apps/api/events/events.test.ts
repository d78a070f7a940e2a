import { once } from 'node:events';
import { connect } from 'node:net';
import { createClient, type StreamMessage } from '@cairn/client';
import { newId } from '@cairn/runtime';
import { waitFor } from '@cairn/testing';
import { afterEach, describe, expect, test } from 'vitest';
import { startRoundRobin } from '../testing/round-robin.ts';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, secrets, call, callAsAttempt, openReplica } = await openTestApi();
const { api } = await openReplica();
const url = await api.listen({ host: '127.0.0.1', port: 0 });

let open: AbortController[] = [];
afterEach(() => {
  for (const stream of open) stream.abort();
  open = [];
});

/** A client's stream that records what it receives. */
function follow(
  topics: string[],
  { at = url, token = secrets.viewer, lastEventId }: { at?: string; token?: string; lastEventId?: string } = {},
) {
  const stream = new AbortController();
  open.push(stream);
  const got: StreamMessage[] = [];
  const opened: string[] = [];
  const ended = (async () => {
    const messages = createClient({ url: at, token }).events({
      topics,
      lastEventId,
      signal: stream.signal,
      onConnection: (change) => opened.push(change.state),
    });
    for await (const message of messages) got.push(message);
  })();
  ended.catch(() => undefined);
  return {
    got,
    opened,
    ended,
    seqs: () => got.flatMap((message) => (message.type === 'event' ? [message.event.seq] : [])),
    hints: () => got.flatMap((message) => (message.type === 'hint' ? [message.hint] : [])),
    resets: () => got.flatMap((message) => (message.type === 'reset' ? [message.topic] : [])),
    close: () => stream.abort(),
  };
}

let variant = 0;
/** A run with an attempt that adds to its history. */
async function startRun() {
  variant += 1;
  const runId = await harness.submit({ set: { 'prepare.testSeed': variant } });
  const [attemptId = ''] = await harness.startAttempts(runId, 'prepare');
  let seq = 0;
  const report = (items: unknown[]) => {
    seq += 1;
    return callAsAttempt(attemptId, 'POST', '/reports', { body: { seq, at: new Date().toISOString(), items } });
  };
  const newest = async () => (await harness.run(runId)).seq;
  return { runId, topic: `run:${runId}`, report, newest, note: (message = 'note') => report([{ type: 'note', level: 'info', message }]) };
}
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

describe('a run topic', () => {
  test('sends every event from the first, and new ones at once', async () => {
    const { topic, note, newest } = await startRun();
    const before = await newest();
    const stream = follow([topic]);
    await waitFor(() => stream.seqs().length === before, { message: 'the history' });
    for (let n = 0; n < 5; n += 1) await note();
    const last = await newest();
    await waitFor(() => stream.seqs().length === last, { timeoutMs: 3_000, message: 'the new events' });
    expect(stream.seqs()).toEqual(upTo(last));
    expect(stream.resets()).toEqual([]);
  });

  test('resumes after Last-Event-ID, for several runs at the same time', async () => {
    const [one, two] = [await startRun(), await startRun()];
    const first = follow([one.topic, two.topic]);
    const [lastOne, lastTwo] = [await one.newest(), await two.newest()];
    await waitFor(() => first.seqs().length === lastOne + lastTwo, { message: 'both histories' });
    first.close();
    await one.note();
    await two.note();
    const cursor = first.got.at(-1)?.id ?? '';
    const second = follow([one.topic, two.topic], { lastEventId: cursor });
    await waitFor(() => second.seqs().length >= 2, { message: 'what came meanwhile' });
    expect(second.seqs().toSorted()).toEqual([lastOne + 1, lastTwo + 1].toSorted());
    expect(second.resets()).toEqual([]);
  });

  test.each([
    ['does not name the run', () => `${newId('run')}.3`],
    ['is past the end of the run', (runId: string) => `${runId}.9999`],
    ['is unknown', () => 'nonsense'],
  ])('with a Last-Event-ID that %s gets a reset, and starts with the first event', async (_, cursor) => {
    const { runId, topic, newest } = await startRun();
    const stream = follow([topic], { lastEventId: cursor(runId) });
    const last = await newest();
    await waitFor(() => stream.seqs().length === last, { message: 'the history' });
    expect(stream.got[0]).toMatchObject({ type: 'reset', topic });
    expect(stream.seqs()).toEqual(upTo(last));
  });

  test('sends hints about progress, metrics and logs, at most one of each kind per interval', async () => {
    const { runId, topic, report } = await startRun();
    const stream = follow([topic]);
    await waitFor(() => stream.seqs().length > 0, { message: 'the stream to begin' });
    const items = [
      { type: 'log', stream: 'stdout', offset: 0, text: 'x' },
      { type: 'metrics', name: 'loss', steps: [1], values: [1], times: [1] },
      { type: 'progress', done: 1, total: 2, unit: 'steps', rate: null, etaSeconds: null, message: '' },
    ];
    const begin = performance.now();
    for (let n = 0; n < 40; n += 1) await report(items);
    await waitFor(() => new Set(stream.hints().map((hint) => hint.what)).size === 3, { message: 'three kinds of hints' });
    const intervals = Math.ceil((performance.now() - begin) / 100);
    const { id: stepId } = await harness.step(runId, 'prepare');
    for (const what of ['logs', 'metrics', 'progress'] as const) {
      const kind = stream.hints().filter((hint) => hint.what === what);
      expect(kind[0]).toEqual({ topic, runId, stepId, what });
      expect(kind.length).toBeLessThanOrEqual(intervals + 1);
    }
  });
});

test('the reset of the runs names the position of a list that is as new, and another one after an event', async () => {
  const { note } = await startRun();
  const client = createClient({ url, token: secrets.viewer });
  const positionOf = async (stream: ReturnType<typeof follow>): Promise<string | undefined> => {
    await waitFor(() => stream.resets().length === 1, { message: 'the reset' });
    const [first] = stream.got;
    return first?.type === 'reset' ? first.position : undefined;
  };
  const { position } = await client.listRuns({ limit: 1 });
  expect(position).toMatch(/^[0-9.]+ \d+ \d+$/);
  expect(await positionOf(follow(['runs']))).toBe(position);
  await note();
  const next = await positionOf(follow(['runs']));
  expect(next).not.toBe(position);
  expect((await client.listRuns({ limit: 1 })).position).toBe(next);
});

test('list topics get a reset at the start and a hint whenever a run changes', async () => {
  const stream = follow(['runs', 'fleet']);
  await waitFor(() => stream.resets().length === 2, { message: 'the resets' });
  expect(stream.resets()).toEqual(['runs', 'fleet']);
  const { runId } = await startRun();
  await waitFor(() => stream.hints().some((hint) => hint.topic === 'fleet'), { message: 'a hint about the fleet' });
  // Earlier runs may still be hinted at: hints are delayed to be few.
  const isOfRun = (hint: { runId?: string | undefined }) => hint.runId === undefined || hint.runId === runId;
  await waitFor(() => stream.hints().some((hint) => hint.topic === 'runs' && hint.what === 'run' && isOfRun(hint)), {
    message: 'a hint about the run',
  });
  expect(stream.got.every((message) => message.id === null)).toBe(true);
});

test('the list of runs gets hints that runs progress: one for all of them, at most one an interval', async () => {
  const stream = follow(['runs']);
  await waitFor(() => stream.resets().length === 1, { message: 'the stream to begin' });
  const runs = [await startRun(), await startRun()];
  const items = [{ type: 'progress', done: 1, total: 2, unit: 'steps', rate: null, etaSeconds: null, message: '' }];
  const begin = performance.now();
  for (let n = 0; n < 20; n += 1) for (const { report } of runs) await report(items);
  const progress = () => stream.hints().filter((hint) => hint.what === 'progress');
  await waitFor(() => progress().length > 1, { message: 'hints about progress' });
  expect(progress().length).toBeLessThanOrEqual(Math.ceil((performance.now() - begin) / 100) + 1);
  expect(progress().every((hint) => hint.topic === 'runs' && hint.stepId === undefined)).toBe(true);
});

test('events committed while the LISTEN connection is down are delivered', async () => {
  const { topic, note, newest } = await startRun();
  const stream = follow([topic, 'runs']);
  await waitFor(() => stream.seqs().length > 0, { message: 'the stream to begin' });
  for (let round = 0; round < 3; round += 1) {
    await prisma.$queryRaw`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'cairn listen' and datname = current_database()`;
    await note();
    const last = await newest();
    await waitFor(() => stream.seqs().at(-1) === last, { message: 'the event without a notification' });
  }
  expect(stream.seqs()).toEqual(upTo(await newest()));
});

test('a change whose notification is lost is found by polling', async () => {
  const { runId, topic } = await startRun();
  const stream = follow([topic, 'runs']);
  await waitFor(() => stream.seqs().length > 0, { message: 'the stream to begin' });
  const hintsBefore = stream.hints().length;
  const { seq } = await prisma.run.update({ where: { id: runId }, data: { seq: { increment: 1 } } });
  await prisma.event.create({ data: { runId, seq, type: 'note', message: 'silent' } });
  await waitFor(() => stream.seqs().at(-1) === seq, { message: 'the silent event' });
  await waitFor(() => stream.hints().length > hintsBefore, { message: 'a hint about the list' });
});

test('with two replicas behind a round robin, killed one after the other, a client misses nothing and gets nothing twice', async () => {
  const replicas = await Promise.all([1, 2, 3].map(() => openReplica()));
  const ports = await Promise.all(
    replicas.map(async (replica) => Number(new URL(await replica.api.listen({ host: '127.0.0.1', port: 0 })).port)),
  );
  const [, , spare = 0] = ports;
  const proxy = await startRoundRobin(ports.slice(0, 2));
  /** Simulates a kill: its connections break abruptly, and it stops listening. */
  const kill = (port: number) => {
    proxy.remove(port);
    const replica = replicas[ports.indexOf(port)];
    replica?.api.server.close();
    replica?.api.server.closeAllConnections();
    replica?.feed.close();
  };

  const { topic, note, newest } = await startRun();
  const stream = follow([topic, 'runs'], { at: proxy.url });
  await waitFor(() => stream.seqs().length > 0, { message: 'the stream to begin' });
  const servedBy: (number | undefined)[] = [];
  for (let killed = 0; killed < 2; killed += 1) {
    for (let n = 0; n < 15; n += 1) await note();
    const [serving] = await waitFor(() => (proxy.busy().length > 0 ? proxy.busy() : null), { message: 'a replica to serve the stream' });
    servedBy.push(serving);
    if (killed === 1) proxy.add(spare);
    // In the middle of a burst: some events are committed before, some after.
    const burst = (async () => {
      for (let n = 0; n < 15; n += 1) await note();
    })();
    await note();
    kill(serving ?? 0);
    await burst;
  }
  const last = await newest();
  await waitFor(() => stream.seqs().at(-1) === last, { message: 'the last event' });
  expect(stream.seqs()).toEqual(upTo(last));
  expect(new Set(servedBy).size).toBe(2);
  expect(stream.opened.filter((state) => state === 'lost').length).toBeGreaterThanOrEqual(2);
  // A reset follows every connect.
  expect(stream.resets().length).toBe(stream.opened.filter((state) => state === 'open').length);
  stream.close();
  await proxy.close();
});

test('a client that reads nothing is disconnected and resumes with its cursor', async () => {
  const { api: server } = await openReplica({ heartbeatMs: 150 });
  const port = Number(new URL(await server.listen({ host: '127.0.0.1', port: 0 })).port);
  const { runId } = await startRun();
  const { seq } = await harness.run(runId);
  await prisma.$executeRaw`
    insert into event (run_id, seq, type, message) select ${runId}, ${seq} + n, 'note', repeat('x', 8000) from generate_series(1, 3000) n`;
  await prisma.run.update({ where: { id: runId }, data: { seq: seq + 3000 } });
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(`GET /v1/events?topics=run:${runId} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${secrets.viewer}\r\n\r\n`);
  // Nothing is read: the kernel's buffers fill up, then the server's.
  socket.pause();
  const connections = () => new Promise<number>((resolve) => server.server.getConnections((_, count) => resolve(count)));
  await waitFor(async () => (await connections()) === 1, { message: 'the client to connect' });
  await waitFor(async () => (await connections()) === 0, { message: 'the client to be disconnected' });
  socket.destroy();
});

test('a stream stays alive by heartbeats and ends when its token is revoked', async () => {
  const { api: server } = await openReplica({ heartbeatMs: 50 });
  const at = await server.listen({ host: '127.0.0.1', port: 0 });
  const { json: token } = await call('admin', 'POST', '/v1/tokens', { body: { name: 'short', role: 'viewer' } });
  const answer = await fetch(`${at}/v1/events?topics=runs`, { headers: { authorization: `Bearer ${token.secret}` } });
  expect(answer.headers.get('content-type')).toBe('text/event-stream');
  let text = '';
  let isRevoked = false;
  for await (const chunk of answer.body ?? []) {
    text += Buffer.from(chunk).toString();
    if (!isRevoked && text.includes(': heartbeat')) {
      isRevoked = true;
      await call('admin', 'DELETE', `/v1/tokens/${token.id}`);
    }
  }
  expect(text).toContain('retry: 1000\n\nevent: reset\ndata: {"topic":"runs","position":"');
  expect(isRevoked).toBe(true);
});

test.each([
  ['no topic', '', 'invalid_request'],
  ['an unknown topic', 'runs,models', 'invalid_request'],
  ['too many topics', Array.from({ length: 51 }, () => `run:${newId('run')}`).join(','), 'invalid_request'],
  ['an unknown run', `run:${newId('run')}`, 'not_found'],
])('%s is rejected', async (_, topics, code) => {
  expect((await call('viewer', 'GET', '/v1/events', { query: { topics } })).json).toMatchObject({ code });
  await expect(follow([topics || ',']).ended).rejects.toMatchObject({ code });
});

test('a closing server ends its streams, even when clients keep their connections', async () => {
  const replica = await openReplica();
  const at = await replica.api.listen({ host: '127.0.0.1', port: 0 });
  const { runId, topic } = await startRun();
  const streams = [follow([topic], { at }), follow(['runs'], { at })];
  const keeper = connect(Number(new URL(at).port), '127.0.0.1');
  const gone = once(keeper, 'close');
  keeper.write(
    `GET /v1/events?topics=run:${runId} HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\nauthorization: Bearer ${secrets.viewer}\r\n\r\n`,
  );
  await once(keeper, 'data');
  keeper.resume();
  await waitFor(() => streams.every((stream) => stream.got.length > 0), { message: 'the streams to begin' });
  const begin = performance.now();
  await replica.close();
  expect(performance.now() - begin).toBeLessThan(5_000);
  await gone;
  await waitFor(() => streams.every((stream) => stream.opened.includes('lost')), { message: 'the clients to notice' });
});

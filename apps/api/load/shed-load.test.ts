import { connect } from 'node:net';
import { CairnError } from '@cairn/contract';
import { createCloser, createLogger, createMetrics } from '@cairn/runtime';
import { waitFor } from '@cairn/testing';
import { afterAll, expect, test } from 'vitest';
import { createApp } from '../http/app.ts';
import { noBounds } from '../testing/test-api.ts';
import { createLoadLimits } from './load-limits.ts';
import { shedLoad } from './shed-load.ts';

const closer = createCloser();
afterAll(() => closer.close());

/** A server of a replica with 16 database connections, without routes and load shedding. */
function openApp() {
  const metrics = createMetrics({ processMetrics: false });
  const load = createLoadLimits({ connections: 16, metrics }, closer);
  const log = createLogger({ name: 'test', level: 'silent' });
  const app = createApp({ server: 'public', log, metrics, maxBodyBytes: 1_000, connections: noBounds.connections });
  closer.add('the app', () => app.close());
  return { app, load, metrics };
}

test('requests beyond the capacity of a class are refused at once with Retry-After, and do not affect other classes', async () => {
  const { app, load, metrics } = openApp();
  shedLoad(app, load, ({ method }) => (method === 'GET' ? 'read' : 'command'));
  const release = Promise.withResolvers<void>();
  app.post('/command', async () => {
    await release.promise;
    return {};
  });
  app.get('/question', async () => ({}));
  app.get('/health', { config: { load: 'none' } }, async () => ({}));
  const url = await app.listen({ host: '127.0.0.1', port: 0 });

  const commands = Array.from({ length: 200 }, () => app.inject({ method: 'POST', url: '/command' }));
  const first = await Promise.race(commands);
  expect([first.statusCode, first.json().code]).toEqual([429, 'rate_limited']);
  expect(Number(first.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  expect((await app.inject('/question')).statusCode).toBe(200);
  expect((await app.inject('/health')).statusCode).toBe(200);
  expect(load.gates.command.load().inside).toBe(4);
  release.resolve();
  const codes = (await Promise.all(commands)).map((answer) => answer.statusCode);
  expect(new Set(codes)).toEqual(new Set([200, 429]));
  expect((await metrics.render()).body).toContain('cairn_requests_refused_total{class="command"}');

  // All places are free again, including those of clients that disconnected early.
  const gone = new AbortController();
  await fetch(`${url}/question`, { signal: gone.signal }).then(() => gone.abort());
  await waitFor(() => Object.values(load.gates).every((gate) => gate.load().inside === 0), { message: 'all places to be free' });
});

test('a client that disconnects keeps its place until its work is done', async () => {
  const { app, load } = openApp();
  shedLoad(app, load, () => 'command');
  const release = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<void>();
  app.get('/', async (_request, reply) => {
    reply.raw.once('close', () => gone.resolve());
    await release.promise;
    return {};
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const client = new AbortController();
  const call = fetch(url, { signal: client.signal });
  call.catch(() => undefined);
  await waitFor(() => load.gates.command.load().inside === 1, { message: 'the call to be inside' });
  client.abort();
  await gone.promise;
  expect(load.gates.command.load().inside).toBe(1);
  release.resolve();
  await waitFor(() => load.gates.command.load().inside === 0, { message: 'the place to be free' });
});

test('a slow body takes no place until it has arrived', async () => {
  const { app, load } = openApp();
  shedLoad(app, load, () => 'command');
  let begun = 0;
  app.addHook('onRequest', async () => {
    begun += 1;
  });
  app.post('/', async () => ({}));
  const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
  const sockets = Array.from({ length: 20 }, () => connect(Number(port), '127.0.0.1').on('error', () => undefined));
  for (const socket of sockets) socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{');
  await waitFor(() => begun === 20, { message: 'all requests to begin' });
  expect(load.gates.command.load()).toEqual({ inside: 0, waiting: 0 });
  expect((await app.inject({ method: 'POST', url: '/' })).statusCode).toBe(200);
  for (const socket of sockets) socket.destroy();
});

test('one token cannot take all long-lived places, and gets its own back', async () => {
  const { app, load } = openApp();
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request) => {
    const tokenId = String(request.headers['x-token']);
    request.caller = { tokenId, name: tokenId, projectId: 'default', address: '127.0.0.1', role: 'viewer', expiresAt: null };
  });
  shedLoad(app, load, () => 'transfer');
  const release = Promise.withResolvers<void>();
  app.get('/', () => release.promise.then(() => ({})));
  const ask = (token: string) => app.inject({ url: '/', headers: { 'x-token': token } });
  const held = Array.from({ length: 8 }, () => ask('greedy'));
  await waitFor(() => load.gates.transfer.load().inside === 8, { message: 'the maximum of one token' });
  expect((await ask('greedy')).json()).toMatchObject({ code: 'rate_limited', detail: expect.stringContaining('8 of these') });
  const other = ask('modest');
  await waitFor(() => load.gates.transfer.load().inside === 9, { message: 'the other token' });
  release.resolve();
  expect((await Promise.all([...held, other])).map((answer) => answer.statusCode)).toEqual(Array(9).fill(200));
  await waitFor(() => load.gates.transfer.load().inside === 0, { message: 'the places to be free' });
  expect((await ask('greedy')).statusCode).toBe(200);
});

test('a handler that throws synchronously gives its place back', async () => {
  const { app, load } = openApp();
  shedLoad(app, load, () => 'attempt');
  app.get('/', () => {
    throw new CairnError('invalid_request', 'the header is not a number');
  });
  for (let calls = 0; calls < 10; calls += 1) expect((await app.inject('/')).statusCode).toBe(400);
  expect(load.gates.attempt.load()).toEqual({ inside: 0, waiting: 0 });
});

test('a client that disconnects during the token lookup takes no place and starts no work', async () => {
  const { app, load } = openApp();
  const release = Promise.withResolvers<void>();
  let asked = 0;
  let gone = 0;
  let done = 0;
  let handled = 0;
  app.addHook('onRequest', async (_request, reply) => {
    asked += 1;
    reply.raw.once('close', () => {
      gone += 1;
    });
    await release.promise;
  });
  shedLoad(app, load, () => 'read');
  app.addHook('preSerialization', async (_request, _reply, payload) => {
    done += 1;
    return payload;
  });
  app.get('/', async () => {
    handled += 1;
    return {};
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const client = new AbortController();
  for (let calls = 0; calls < 10; calls += 1) fetch(url, { signal: client.signal }).catch(() => undefined);
  await waitFor(() => asked === 10, { message: 'the token lookups to begin' });
  client.abort();
  await waitFor(() => gone === 10, { message: 'the clients to disconnect' });
  release.resolve();
  await waitFor(() => done === 10, { message: 'the calls to end' });
  expect(handled).toBe(0);
  expect(load.gates.read.load()).toEqual({ inside: 0, waiting: 0 });
  expect((await app.inject('/')).statusCode).toBe(200);
});

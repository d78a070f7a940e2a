import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createCloser, createLogger, createMetrics } from '@cairn/runtime';
import { waitFor } from '@cairn/testing';
import { afterAll, afterEach, expect, test } from 'vitest';
import { createApp } from '../http/app.ts';
import type { ConnectionBounds } from './bound-connections.ts';

const closer = createCloser();
afterAll(() => closer.close());
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

async function serve(bounds: Partial<ConnectionBounds>) {
  const app = createApp({
    server: 'public',
    log: createLogger({ name: 'test', level: 'silent' }),
    metrics: createMetrics({ processMetrics: false }),
    maxBodyBytes: 1_000,
    connections: { most: 0, perAddress: 0, trusted: [], ...bounds },
  });
  closer.add('an app', () => app.close());
  const release = Promise.withResolvers<void>();
  app.get('/health', async () => ({}));
  app.get('/held', async () => {
    await release.promise;
    return {};
  });
  app.post('/refused', { onRequest: async (_request, reply) => reply.code(403).send({}) }, async () => ({}));
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const count = () => new Promise<number>((resolve) => app.server.getConnections((_, connections) => resolve(connections)));
  return { app, url, port, count, release: () => release.resolve() };
}

async function open(port: number, address = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: address });
  sockets.push(socket.on('error', () => undefined).resume());
  await once(socket, 'connect');
  return socket;
}

test('idle connections do not block others: the one that is idle the longest is closed', async () => {
  const { url, port, count, release } = await serve({ most: 10 });
  const held = fetch(`${url}/held`);
  await waitFor(async () => (await count()) === 1, { message: 'the held request' });
  for (let stranger = 0; stranger < 50; stranger += 1) await open(port);
  await waitFor(async () => (await count()) <= 10, { message: 'the bound' });
  expect((await fetch(`${url}/health`)).status).toBe(200);
  // A request in progress was not cut off.
  release();
  expect((await held).status).toBe(200);
});

test('an address with too many connections loses its own, and others keep theirs', async () => {
  const { port, count } = await serve({ perAddress: 3 });
  const other = await open(port, '127.0.0.2');
  for (let stranger = 0; stranger < 20; stranger += 1) await open(port, '127.0.0.3');
  await waitFor(async () => (await count()) === 4, { message: 'the bound of the address' });
  expect(other.destroyed).toBe(false);
});

test('a trusted proxy is not limited', async () => {
  const { port, count } = await serve({ perAddress: 3, trusted: ['127.0.0.4/32'] });
  for (let connection = 0; connection < 10; connection += 1) await open(port, '127.0.0.4');
  await waitFor(async () => (await count()) === 10, { message: 'all connections' });
});

test('the connection of a request that was answered before its body arrived is closed when the rest does not arrive', async () => {
  const { port, count } = await serve({});
  const socket = await open(port);
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString();
  });
  socket.write('POST /refused HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n');
  const trickle = setInterval(() => socket.write(' '), 50);
  await once(socket, 'close');
  clearInterval(trickle);
  expect(answer).toContain('403');
  expect(await count()).toBe(0);
});

test('a connection without a request does not keep the server from closing; a request in progress does', async () => {
  const { app, url, port, count, release } = await serve({});
  const silent = await open(port);
  const held = fetch(`${url}/held`);
  await waitFor(async () => (await count()) === 2, { message: 'both connections' });
  const closed = app.close();
  await once(silent, 'close');
  release();
  expect((await held).status).toBe(200);
  await closed;
});

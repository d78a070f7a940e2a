import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { protocol, protocolHeader } from '@cairn/contract';
import { afterEach, expect, test, vi } from 'vitest';
import { createInternalClient, type InternalClientOptions } from './internal-client.ts';

vi.setConfig({ testTimeout: 30_000 });

type Answer = { status: number; body: unknown; type?: string } | 'silence' | 'reset';
type Seen = { method: string; url: string; headers: IncomingMessage['headers']; body: unknown };

const servers: Server[] = [];
const abort = new AbortController();

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** A server that gives the answers in order, and repeats the last one. */
async function serve(answers: Answer[], port = 0): Promise<{ url: string; port: number; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const answer = answers[Math.min(seen.length, answers.length - 1)] ?? 'silence';
    seen.push({
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: text === '' ? null : JSON.parse(text),
    });
    if (answer === 'reset') request.socket.destroy();
    else if (answer !== 'silence') {
      const body = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
      response.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json' }).end(body);
    }
  }).listen(port, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const address = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${address.port}`, port: address.port, seen };
}

function problem(status: number, code: string) {
  return {
    status,
    body: { type: 'about:blank', title: 't', status, code, detail: `it is ${code}`, remedy: 'r', retry: false, requestId: 'req-1' },
  };
}

const reply = { status: 200, body: { directive: 'continue', reason: null, graceSeconds: 30, futureKey: 1 } };
const report = { seq: 1, at: '2026-01-01T00:00:00.000Z', items: [] };

function client(urls: string[], options: Partial<InternalClientOptions> = {}) {
  return createInternalClient({ urls, attemptId: 'att_x', generation: 3, token: 'cat_secret', signal: abort.signal, ...options });
}

test('a call carries token, generation and protocol, and unknown keys of the answer are ignored', async () => {
  const { url, seen } = await serve([reply]);
  expect(await client([url]).report(report)).toEqual({ directive: 'continue', cause: null, reason: null, graceSeconds: 30 });
  expect(seen[0]).toMatchObject({
    method: 'POST',
    url: '/internal/v1/attempts/att_x/reports',
    headers: { authorization: 'Bearer cat_secret', 'x-cairn-generation': '3', [protocolHeader]: String(protocol) },
    body: report,
  });
});

test('an unknown cause to stop is read as none, and the answer is still accepted', async () => {
  const { url } = await serve([{ status: 200, body: { directive: 'stop', cause: 'budget', reason: 'for people', graceSeconds: 30 } }]);
  expect(await client([url]).report(report)).toEqual({ directive: 'stop', cause: null, reason: 'for people', graceSeconds: 30 });
});

test('a call is retried when the control plane fails, is overloaded, drops the connection or does not answer', async () => {
  const { url, seen } = await serve([problem(500, 'internal'), problem(429, 'rate_limited'), 'reset', 'silence', reply]);
  const failures: number[] = [];
  const patient = client([url], { timeoutMs: 200, onRetry: (retry) => failures.push(retry.failures) });
  expect(await patient.report(report)).toMatchObject({ directive: 'continue' });
  expect(seen).toHaveLength(5);
  expect(failures).toEqual([1, 2, 3, 4]);
});

test('another program on the port during a restart is waited out', async () => {
  const { url } = await serve([{ status: 404, body: '<h1>Not Found</h1>', type: 'text/html' }, reply]);
  expect(await client([url]).report(report)).toMatchObject({ directive: 'continue' });
});

test('the client reconnects to a server that comes back on its port', async () => {
  const first = await serve([reply]);
  const found = client([first.url], {
    // The first refused try shows that the server is away.
    onRetry: ({ failures }) => void (failures === 1 ? serve([reply], first.port) : undefined),
  });
  await found.report(report);
  const server = servers.splice(0)[0];
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve));
  expect(await found.report(report)).toMatchObject({ directive: 'continue' });
});

test('the next address is called when one is away, and stays the first choice', async () => {
  const [broken, good] = [await serve([problem(503, 'unavailable')]), await serve([reply])];
  const round = client([broken.url, good.url]);
  await round.report(report);
  await round.report({ ...report, seq: 2 });
  expect(broken.seen).toHaveLength(1);
  expect(good.seen).toHaveLength(2);
});

test.each([
  [409, 'superseded'],
  [409, 'lease_lost'],
  [400, 'invalid_request'],
  [404, 'not_found'],
] as const)('a refusal %i %s is thrown with its code, and not retried', async (status, code) => {
  const { url, seen } = await serve([problem(status, code)]);
  await expect(client([url]).claimShard({ holding: [] })).rejects.toMatchObject({ code, message: `it is ${code}` });
  expect(seen).toHaveLength(1);
});

test('an abort ends the wait with its reason', async () => {
  const stop = new AbortController();
  const { url } = await serve([problem(503, 'unavailable')]);
  const waiting = client([url], { signal: stop.signal, onRetry: () => stop.abort(new Error('enough')) }).finish({
    outcome: 'preempted',
    message: '',
  });
  await expect(waiting).rejects.toThrow('enough');
});

test('shards are claimed, committed and released at their own addresses', async () => {
  const { url, seen } = await serve([
    { status: 200, body: { shard: { index: 4, from: 8, count: 2, tries: 1 }, done: false, retryAfterSeconds: 1 } },
    { status: 200, body: {} },
  ]);
  const worker = client([url]);
  expect((await worker.claimShard({ holding: [3] })).shard).toEqual({ index: 4, from: 8, count: 2, tries: 1, resumeFrom: null });
  await worker.commitShard(4, { rows: 2, rejected: 0, files: [], idsSha256: null, seconds: { read: 1, decode: 1, infer: 1, write: 1 } });
  await worker.releaseShard(5);
  expect(seen.map((call) => call.url.split('/att_x/')[1])).toEqual(['shards/claim', 'shards/4/commit', 'shards/5/release']);
  expect(seen[0]?.body).toEqual({ holding: [3] });
});

test('a report that does not match its schema is refused as by the control plane, and not sent', async () => {
  const { url, seen } = await serve([reply]);
  await expect(client([url]).report({ ...report, seq: 0 })).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringContaining('seq'),
  });
  expect(seen).toHaveLength(0);
});

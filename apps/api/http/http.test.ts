import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { CairnError, type Problem, problem, safeName, submitRequest } from '@cairn/contract';
import { openDatabase } from '@cairn/db';
import { smallRecipe } from '@cairn/engine/testing';
import { createCloser, createLogger, createMetrics, freePort, toCairnError } from '@cairn/runtime';
import { waitFor } from '@cairn/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createLoadLimits } from '../load/load-limits.ts';
import { healthRoutes } from '../routes/health.ts';
import { noBounds, openTestApi } from '../testing/test-api.ts';
import { createApp } from './app.ts';
import { answerUnreadableRequest } from './bare-app.ts';

const lines: string[] = [];
const options = () => ({
  server: 'public' as const,
  log: createLogger({ name: 'test', level: 'info', destination: { write: (line) => void lines.push(line) } }),
  metrics: createMetrics({ processMetrics: false }),
  maxBodyBytes: 1024 * 1024,
  connections: noBounds.connections,
});
const app = createApp(options());
const body = z.strictObject({
  name: z.string(),
  stages: z.record(z.string(), z.strictObject({ epochs: z.number(), list: z.enum(['clean', 'full']) })).default({}),
  source: z.union([z.string(), z.strictObject({ root: z.string() })]).optional(),
});
app.post('/echo', { schema: { body } }, async (request) => request.body);
app.get('/broken', async () => {
  throw new Error('the password is hunter2');
});
app.get('/refused', async () => {
  throw new CairnError('wrong_state', 'it is over', { details: { state: 'failed' } });
});
app.put('/file', { config: { maxOctets: 1000 } }, async ({ body: file }) => (await Array.fromAsync(file as AsyncIterable<Buffer>)).length);
const begun = new Set<string>();
app.addHook('onRequest', async ({ method, url: path }) => void begun.add(`${method} ${path}`));
const ended = new Map<string, number>();
app.addHook('onSend', async ({ method, url: path }, { statusCode }) => void ended.set(`${method} ${path}`, statusCode));
const url = await app.listen({ host: '127.0.0.1', port: 0 });
const port = Number(new URL(url).port);
afterAll(() => app.close());

async function post(payload: string, contentType = 'application/json') {
  const answer = await app.inject({ method: 'POST', url: '/echo', payload, headers: { 'content-type': contentType } });
  return { status: answer.statusCode, type: answer.headers['content-type'], problem: problem.parse(answer.json()) };
}
const errorsOf = (document: Problem) =>
  z.array(z.object({ path: z.string(), message: z.string(), nearest: z.string().optional() })).parse(document.details?.errors);

describe('an invalid request', () => {
  test('gets an error for every field, and the nearest name for an unknown one', async () => {
    const { status, type, problem: document } = await post(JSON.stringify({ nmae: 'x', stages: { a: { epoch: 3, list: 'clena' } } }));
    expect([status, type]).toEqual([400, 'application/problem+json; charset=utf-8']);
    expect(document).toMatchObject({ code: 'invalid_request', retry: false, detail: expect.stringContaining('did you mean') });
    expect(errorsOf(document)).toEqual(
      expect.arrayContaining([
        { path: 'nmae', message: 'unknown field; did you mean "name"?', nearest: 'name' },
        { path: 'stages.a.epoch', message: 'unknown field; did you mean "epochs"?', nearest: 'epochs' },
        { path: 'stages.a.list', message: 'expected one of clean, full; did you mean "clean"?', nearest: 'clean' },
        { path: 'name', message: 'missing, expected a string' },
      ]),
    );
  });

  test('gets the reason why a name is invalid', async () => {
    const named = createApp(options());
    named.post('/named', { schema: { body: z.record(safeName, z.number()) } }, async (request) => request.body);
    const answer = await named.inject({ method: 'POST', url: '/named', payload: { '/a': 1 } });
    expect(answer.json().detail).toMatch(/is invalid: \/a: use letters, digits/);
    await named.close();
  });

  test('is validated against the intended branch of a union', async () => {
    const { problem: document } = await post(JSON.stringify({ name: 'x', source: { rot: '/' } }));
    expect(errorsOf(document).map((error) => error.path)).toEqual(['source.rot', 'source.root']);
  });

  test.each([
    ['malformed JSON', '{"name": ', 'application/json'],
    ['no body', '', 'application/json'],
    ['another content type', 'name=x', 'application/x-www-form-urlencoded'],
    ['a disguised prototype', '{"__proto__": {"a": 1}, "name": "x"}', 'application/json'],
  ])('%s is an invalid request', async (_, payload, contentType) => {
    expect(await post(payload, contentType)).toMatchObject({ status: 400, problem: { code: 'invalid_request' } });
  });

  test('malformed JSON is reported with the position of the error', async () => {
    const { problem: document } = await post('{"name": "x" "y"}');
    expect(document.detail).toMatch(/^Invalid request body: it is not valid JSON: .*position 13/);
    expect((await post('{"__proto__": {}}')).problem.detail).toContain('a name such as __proto__ is not allowed');
  });
});

describe('errors', () => {
  test('of Cairn are returned unchanged', async () => {
    const answer = await app.inject('/refused');
    expect(answer.json()).toMatchObject({ status: 409, code: 'wrong_state', detail: 'it is over', details: { state: 'failed' } });
    expect(answer.json().requestId).toBe(answer.headers['x-request-id']);
  });

  test('that are unexpected reveal no internals; the log has them under the request id', async () => {
    const answer = await app.inject('/broken');
    expect(answer.statusCode).toBe(500);
    expect(answer.json()).toMatchObject({ code: 'internal' });
    expect(answer.body).not.toContain('hunter2');
    const logged = lines.find((line) => line.includes('hunter2'));
    expect(logged).toContain(answer.json().requestId);
  });

  test('of an unknown path are problem documents too', async () => {
    const answer = await app.inject('/nowhere?x=1');
    expect(answer.json()).toMatchObject({ status: 404, code: 'not_found', detail: 'No route GET /nowhere; see /docs for the routes' });
  });

  test('of invalid percent encoding are an invalid path', async () => {
    const answer = await fetch(`${url}/%zz`);
    expect([answer.status, await answer.json()]).toMatchObject([400, { code: 'invalid_path' }]);
  });

  test.each([
    ['an invalid HTTP request', 'HELLO\r\n\r\n', 'it is not valid HTTP'],
    ['an endless URL', `GET /${'x'.repeat(20_000)}`, 'its URL and headers have more than 16384 bytes'],
  ])('of %s are problem documents too, and the connection is closed', async (_, sent, reason) => {
    const socket = connect(port, '127.0.0.1').end(sent);
    const answer = Buffer.concat(await socket.toArray()).toString();
    expect(answer).toMatch(/^HTTP\/1.1 400 Bad Request\r\ncontent-type: application\/problem\+json\r\n/);
    const document = problem.parse(JSON.parse(answer.slice(answer.indexOf('{'))));
    expect(document).toMatchObject({ code: 'invalid_request', detail: `The request cannot be read: ${reason}` });
  });
});

test('headers that arrive too slowly are a retryable problem: an agent whose machine was suspended retries', () => {
  const written: string[] = [];
  const socket = { destroyed: false, writable: true, write: (text: string) => written.push(text), destroy: () => undefined };
  answerUnreadableRequest(Object.assign(new Error('slow'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket);
  const answer = written.join('');
  expect(answer).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n/);
  expect(problem.parse(JSON.parse(answer.slice(answer.indexOf('{'))))).toMatchObject({ status: 408, retry: true });
});

describe('a body that is too large', () => {
  const megabyte = Buffer.alloc(1024 * 1024, ' ');

  /** Sends up to 100 MB and returns the status and how much was sent before it arrived. */
  async function send(headers: Record<string, string>) {
    const outgoing = httpRequest(`${url}/echo`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers } });
    outgoing.on('error', () => undefined);
    const answered = once(outgoing, 'response');
    let status = 0;
    void answered.then(([response]) => {
      status = response.statusCode;
    });
    let sent = 0;
    for (; sent < 100 && status === 0; sent += 1) {
      if (!outgoing.write(megabyte)) await Promise.race([once(outgoing, 'drain'), answered]);
    }
    const [response] = await answered;
    const text = Buffer.concat(await response.toArray()).toString();
    outgoing.destroy();
    return { status: response.statusCode, sent, problem: problem.parse(JSON.parse(text)) };
  }

  test('is rejected by its Content-Length before it is sent', async () => {
    const { status, sent, problem: document } = await send({ 'content-length': String(100 * megabyte.length) });
    expect([status, document.code]).toEqual([413, 'payload_too_large']);
    expect(sent).toBeLessThan(20);
  });

  test('is rejected at the limit when its length is not declared', async () => {
    const { status, sent, problem: document } = await send({ 'transfer-encoding': 'chunked' });
    expect([status, document.code]).toEqual([413, 'payload_too_large']);
    expect(sent).toBeLessThan(20);
  });

  test('is answered, not disconnected: a client that reads only after sending everything gets the reason', async () => {
    const bodyBytes = 12 * megabyte.length;
    const socket = connect(port, '127.0.0.1');
    socket.pause();
    socket.write(`POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${bodyBytes}\r\n\r\n`);
    for (let sent = 0; sent < bodyBytes; sent += megabyte.length) if (!socket.write(megabyte)) await once(socket, 'drain');
    socket.resume();
    const [first] = await once(socket, 'data');
    expect(String(first)).toContain('413');
    expect(String(first)).toContain('payload_too_large');
    socket.destroy();
  });

  test('does not hold its connection for long', async () => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(
      `POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n${' '.repeat(1000)}`,
    );
    const closed = once(socket, 'close');
    const [first] = await once(socket, 'data');
    expect(String(first)).toContain('413');
    await closed;
  });
});

describe('a body that does not arrive', () => {
  const slow = createApp({ ...options(), bodyTimeoutMs: 200 });
  slow.post('/echo', { schema: { body } }, async (request) => request.body);
  slow.put(
    '/file',
    { config: { maxOctets: 1000 } },
    async ({ body: file }) => (await Array.fromAsync(file as AsyncIterable<Buffer>)).length,
  );
  let slowUrl: URL;
  beforeAll(async () => {
    slowUrl = new URL(await slow.listen({ host: '127.0.0.1', port: 0 }));
  });
  afterAll(() => slow.close());

  test.each([
    ['POST /echo', 'application/json'],
    ['PUT /file', 'application/octet-stream'],
  ])('%s of %s loses its connection', async (line, type) => {
    const socket = connect(Number(slowUrl.port), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(`${line} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: 100\r\n\r\n{`);
    // Without its own time limit the test would wait until the runner's.
    await once(socket.resume(), 'close');
  });

  test.each([
    ['POST /echo', 'application/json'],
    ['PUT /file', 'application/octet-stream'],
  ])('%s of %s whose client disconnects is not logged as an error', async (line, type) => {
    const before = lines.length;
    begun.clear();
    ended.clear();
    const socket = connect(port, '127.0.0.1');
    socket.write(`${line} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: 100\r\n\r\n{`);
    await waitFor(() => begun.delete(line), { message: 'the request to begin' });
    socket.destroy();
    expect(await waitFor(() => ended.get(line), { message: 'the request to end' })).toBe(400);
    expect(lines.slice(before).filter((one) => one.includes('request failed'))).toEqual([]);
  });
});

test('a port in use is reported with its host and number', async () => {
  const second = createApp(options());
  const error = await second.listen({ host: '127.0.0.1', port }).catch((cause: unknown) => toCairnError(cause));
  expect(error).toMatchObject({ code: 'port_in_use', message: `Another program listens on 127.0.0.1:${port}.` });
  await second.close();
});

test('without a database calls are unavailable and readiness names it, but liveness succeeds', async () => {
  const { prisma, close } = openDatabase({ url: `postgres://nobody@127.0.0.1:${await freePort()}/nothing` });
  const away = createApp(options());
  const closer = createCloser();
  healthRoutes(away, { prisma, load: createLoadLimits({ connections: 16, metrics: createMetrics({ processMetrics: false }) }, closer) });
  away.get('/runs', () => prisma.run.count());
  away.get('/raw', () => prisma.$queryRaw`select 1`);
  away.get('/transaction', () => prisma.$transaction((tx) => tx.run.count()));
  for (const path of ['/runs', '/raw', '/transaction', '/readyz']) {
    expect((await away.inject(path)).json()).toMatchObject({
      status: 503,
      code: 'unavailable',
      retry: true,
      details: { part: 'database' },
    });
  }
  expect((await away.inject('/healthz')).json()).toEqual({ status: 'ok' });
  await away.close();
  await closer.close();
  await close();
});

const { harness, call } = await openTestApi();

const { prisma: own, close } = openDatabase({ url: harness.databaseUrl, connections: 1 });

afterAll(close);

test('calls whose connection to PostgreSQL breaks get `unavailable`, never `internal`, and later calls succeed', async () => {
  const statuses = new Map<string, number>();
  let isOver = false;
  const callers = Array.from({ length: 6 }, async (_, caller) => {
    for (let n = 0; !isOver; n += 1) {
      const answer =
        caller % 2 === 0
          ? await call('viewer', 'GET', '/v1/runs')
          : await call('submitter', 'POST', '/v1/runs', {
              body: submitRequest.parse({ recipe: smallRecipe, set: { 'prepare.testSeed': caller * 1000 + n } }),
            });
      const seen = `${answer.status} ${answer.json.code ?? ''}`;
      statuses.set(seen, (statuses.get(seen) ?? 0) + 1);
    }
  });
  const succeeded = () => ['200 ', '201 '].map((seen) => statuses.get(seen) ?? 0);
  for (let round = 0; round < 12; round += 1) {
    const before = succeeded();
    await own.$queryRaw`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
    // The connections are cut again once the callers have recovered.
    await expect.poll(() => succeeded().every((count, index) => count > (before[index] ?? 0)), { timeout: 45_000, interval: 5 }).toBe(true);
  }
  isOver = true;
  await Promise.all(callers);
  expect([...statuses.keys()].toSorted()).toEqual(['200 ', '201 ', '503 unavailable']);
});

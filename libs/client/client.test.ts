import { CairnError, isCairnError, runListItem } from '@cairn/contract';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createClient, problemOfError } from './index.ts';
import { aRun, idFor, type StubApi, sendEndlessly, sendProblem, startStubApi } from './testing/stub-api.ts';
import { delayAfter } from './wait.ts';

let api: StubApi;
beforeEach(async () => {
  api = await startStubApi();
});
afterEach(() => api.close());

const failureOf = async (promise: Promise<unknown>): Promise<CairnError> => {
  const error = await promise.then(
    () => null,
    (caught: unknown) => caught,
  );
  if (!(error instanceof CairnError)) throw new Error(`expected a CairnError, got ${String(error)}`);
  return error;
};

test('a call carries the token and its answer is parsed', async () => {
  api.on('GET', '/v1/runs/([^/]+)', () => aRun());
  const run = await createClient({ url: api.url, token: 'secret' }).getRun(idFor('run', 1));
  expect(run.name).toBe('mini-1');
  expect(api.requests[0]?.headers.authorization).toBe('Bearer secret');
});

test('a file is sent as octets with its length, and with its description in the query', async () => {
  api.on('PUT', '/v1/weights/mine', (_, response) => sendProblem(response, 'name_taken', 'there is another'));
  const file = new Blob(['tensors']);
  const sent = createClient({ url: api.url, token: 'secret' }).importWeights(
    'mine',
    { backbone: 'resnet18', sha256: 'a'.repeat(64) },
    file,
  );
  expect((await failureOf(sent)).code).toBe('name_taken');
  expect(api.requests[0]).toMatchObject({
    body: 'tensors',
    headers: { 'content-type': 'application/octet-stream', 'content-length': '7' },
  });
  expect(Object.fromEntries(api.requests[0]?.query ?? [])).toEqual({ backbone: 'resnet18', sha256: 'a'.repeat(64) });
});

test('the path prefix of an address is kept', async () => {
  api.on('GET', '/cairn/v1/runs/([^/]+)', () => aRun());
  const run = await createClient({ url: `${api.url}/cairn` }).getRun(idFor('run', 1));
  expect(run.state).toBe('running');
});

test('a problem document becomes an error with its code, detail, remedy and request id', async () => {
  api.on('GET', '/v1/recipes/minni', (_, response) => sendProblem(response, 'unknown_recipe', 'No recipe "minni".', { nearest: 'mini' }));
  const error = await failureOf(createClient({ url: api.url }).getRecipe('minni'));
  expect(error).toMatchObject({ code: 'unknown_recipe', message: 'No recipe "minni".' });
  expect(error.details).toMatchObject({ nearest: 'mini', requestId: 'req-1', status: 404 });
  expect(error.details.remedy).toContain('cairn recipes');
  expect(problemOfError(error)).toMatchObject({ code: 'unknown_recipe', status: 404, requestId: 'req-1', details: { nearest: 'mini' } });
});

test.each([
  ['an answer', 200],
  ['a refusal', 404],
])('%s without an end is given up before it fills the memory', async (_, status) => {
  api.on('GET', '/v1/runs/([^/]+)', (_request, response) => sendEndlessly(response.writeHead(status)));
  const error = await failureOf(createClient({ url: api.url }).getRun(idFor('run', 1)));
  expect(error).toMatchObject({ code: 'protocol_mismatch', message: expect.stringContaining('has more than 67108864 bytes') });
});

test('an answer that does not match the schema is a protocol mismatch that names the field', async () => {
  api.on('GET', '/v1/runs/([^/]+)', () => ({ ...aRun(), state: 'dancing' }));
  const error = await failureOf(createClient({ url: api.url }).getRun(idFor('run', 1)));
  expect(error.code).toBe('protocol_mismatch');
  expect(error.message).toContain('state');
});

test('an answer from a proxy instead of a problem document keeps its status and first words', async () => {
  api.on('GET', '/v1/fleet', (_, response) => void response.writeHead(403).end('<h1>Go away</h1>'));
  const error = await failureOf(createClient({ url: api.url }).getFleet());
  expect(error).toMatchObject({ code: 'forbidden' });
  expect(error.message).toContain('Go away');
});

test('a read is repeated while the service restarts', async () => {
  let calls = 0;
  api.on('GET', '/v1/runs/([^/]+)', (_, response) => {
    calls += 1;
    if (calls === 1) return void response.socket?.destroy();
    if (calls === 2) return sendProblem(response, 'unavailable', 'PostgreSQL does not answer.');
    return aRun();
  });
  const run = await createClient({ url: api.url }).getRun(idFor('run', 1));
  expect(run.name).toBe('mini-1');
  expect(calls).toBe(3);
});

test('a submission is repeated under one key, which the caller gives or the client creates once', async () => {
  let calls = 0;
  api.on('POST', '/v1/runs', (_, response) => {
    calls += 1;
    return calls % 2 === 1 ? void response.socket?.destroy() : aRun();
  });
  const client = createClient({ url: api.url });
  await client.submitRun({ recipe: 'mini' });
  await client.submitRun({ recipe: 'mini' }, { idempotencyKey: 'mine' });
  const keys = api.requests.map((request) => request.headers['idempotency-key']);
  expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
  expect(keys).toEqual([keys[0], keys[0], 'mine', 'mine']);
});

test('a call that is not idempotent is sent once', async () => {
  api.on('POST', '/v1/tokens', (_, response) => void response.socket?.destroy());
  const error = await failureOf(createClient({ url: api.url }).createToken({ name: 'ci', role: 'submitter' }));
  expect(error.code).toBe('unavailable');
  expect(api.requests).toHaveLength(1);
});

test('a wrong token is reported at once, without a retry', async () => {
  api.on('GET', '/v1/fleet', (_, response) => sendProblem(response, 'unauthenticated', 'The token is not known.'));
  const error = await failureOf(createClient({ url: api.url, token: 'wrong' }).getFleet());
  expect(error.code).toBe('unauthenticated');
  expect(api.requests).toHaveLength(1);
});

test('an unreachable server is named with the reason and what to do', async () => {
  await api.close();
  const error = await failureOf(createClient({ url: api.url, tries: 1 }).getFleet());
  expect(error.code).toBe('unavailable');
  expect(error.message).toContain('ECONNREFUSED');
  expect(error.details).toMatchObject({ unreachable: true });
  api = await startStubApi();
});

test('a call to a server that never answers fails after the limit', async () => {
  api.on('GET', '/v1/fleet', () => undefined);
  const error = await failureOf(createClient({ url: api.url, tries: 1 }).getFleet({ timeoutMs: 50 }));
  expect(error.message).toContain('no answer within 0.05 s');
});

test('an aborted call ends with the reason of its signal, even between two tries', async () => {
  const controller = new AbortController();
  api.on('GET', '/v1/fleet', (_, response) => {
    sendProblem(response, 'unavailable', 'not now');
    controller.abort(new Error('enough'));
  });
  const call = createClient({ url: api.url }).getFleet({ signal: controller.signal });
  await expect(call).rejects.toThrow('enough');
});

test('a name that climbs out of its folder is refused before anything is sent', async () => {
  const client = createClient({ url: api.url });
  for (const name of ['..', '.', '']) {
    await expect(client.getRecipe(name)).rejects.toSatisfy((error) => isCairnError(error, 'invalid_path'));
  }
  expect(api.requests).toHaveLength(0);
  await expect(client.getRecipe('../tokens')).rejects.toSatisfy((error) => isCairnError(error, 'not_found'));
  expect(api.requests[0]?.path).toBe('/v1/recipes/..%2Ftokens');
});

test('an invalid address is distinguished from a server that is down', () => {
  expect(() => createClient({ url: 'localhost:8080' })).toThrow(/is not an address/);
});

test('the pages of a collection are read one after another, only as far as the reader goes', async () => {
  const summary = runListItem.parse(aRun());
  api.on('GET', '/v1/runs', ({ query }) => {
    const page = Number(query.get('cursor') ?? 0);
    return { items: [{ ...summary, name: `run-${page}` }], nextCursor: page < 9 ? String(page + 1) : null, total: 10 };
  });
  const names: string[] = [];
  for await (const run of createClient({ url: api.url }).eachRun({ state: ['running', 'queued'] })) {
    names.push(run.name);
    if (names.length === 3) break;
  }
  expect(names).toEqual(['run-0', 'run-1', 'run-2']);
  expect(api.requests).toHaveLength(3);
  expect(api.requests[2]?.query.getAll('state')).toEqual(['running', 'queued']);
});

test('a rate-limited call is sent again after Retry-After, even a command, because it was not executed', async () => {
  api.on('POST', '/v1/runs/[^/]+/cancel', (_, response) => {
    if (api.requests.length > 1) return aRun();
    response.setHeader('retry-after', '0');
    sendProblem(response, 'rate_limited', 'too many');
    return undefined;
  });
  expect((await createClient({ url: api.url }).cancelRun(idFor('run', 1))).name).toBe('mini-1');
  expect(api.requests).toHaveLength(2);
});

test("a call is retried after the server's Retry-After or up to half as long again, so that not all clients return at once", () => {
  const error = new CairnError('rate_limited', 'too many', { details: { retryAfterSeconds: 4 } });
  const delays = Array.from({ length: 200 }, () => delayAfter(error, 1, 5_000));
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(4_000);
  expect(Math.max(...delays)).toBeLessThanOrEqual(6_000);
  expect(new Set(delays).size).toBeGreaterThan(100);
});

test('without Retry-After the wait grows with each failure', () => {
  expect(delayAfter(new Error('away'), 1, 5_000)).toBeLessThanOrEqual(200);
  expect(delayAfter(new Error('away'), 20, 5_000)).toBeGreaterThanOrEqual(2_500);
});

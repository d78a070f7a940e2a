import { attemptSpec, logChunkBytes, protocol, protocolHeader } from '@cairn/contract';
import { attemptToken, newId } from '@cairn/runtime';
import { beforeEach, describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { harness, prisma, serverKey, secrets, call, callAsAttempt, internal } = await openTestApi();

let attemptId = '';
let runId = '';
let variant = 0;
beforeEach(async () => {
  variant += 1;
  runId = await harness.submit({ set: { 'prepare.testSeed': variant } });
  [attemptId = ''] = await harness.startAttempts(runId, 'prepare');
});

const report = { seq: 1, at: new Date().toISOString(), items: [] };
const paths = [
  ['GET', '', undefined],
  ['POST', '/start', { host: 'h', pid: 1, instance: 'another one', version: '1' }],
  ['POST', '/reports', report],
  ['POST', '/shards/claim', {}],
  ['POST', '/shards/0/commit', { rows: 1, rejected: 0, files: [], seconds: { read: 0, decode: 0, infer: 0, write: 0 } }],
  ['GET', '/shards/files?from=0', undefined],
  ['POST', '/shards/0/release', {}],
  ['POST', '/finish', { outcome: 'failed', cause: 'user', code: 'internal', message: 'x' }],
] as const;

describe.each(paths)('%s /internal/v1/attempts/:id%s', (method, path, body) => {
  test('rejects every token except that of the attempt and its generation', async () => {
    const strangers = {
      'of another attempt': attemptToken(serverKey, newId('attempt'), 1),
      'of another generation': attemptToken(serverKey, attemptId, 2),
      'made with another key': attemptToken('x'.repeat(32), attemptId, 1),
      'of an admin': secrets.admin,
    };
    for (const [whose, token] of Object.entries(strangers)) {
      const answer = await callAsAttempt(attemptId, method, path, { body, token });
      expect(answer.json, whose).toMatchObject({ status: 401, code: 'unauthenticated' });
    }
    expect((await prisma.attempt.findUniqueOrThrow({ where: { id: attemptId } })).state).toBe('running');
  });

  test('rejects an attempt that has ended or was replaced, whatever the body', async () => {
    await prisma.attempt.update({ where: { id: attemptId }, data: { generation: 2 } });
    expect((await callAsAttempt(attemptId, method, path, { body })).json).toMatchObject({ status: 409, code: 'superseded' });
    await prisma.attempt.update({ where: { id: attemptId }, data: { generation: 1, state: 'lost', endedAt: new Date() } });
    expect((await callAsAttempt(attemptId, method, path, { body })).json).toMatchObject({ status: 409, code: 'superseded' });
  });
});

test('a live attempt gets its spec, and continues', async () => {
  const spec = await callAsAttempt(attemptId, 'GET', '');
  expect(attemptSpec.parse(spec.json)).toMatchObject({
    kind: 'prepare',
    attempt: { id: attemptId, ordinal: 1 },
    stagingPrefix: `staging/${attemptId}/`,
  });
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: report })).toMatchObject({
    status: 200,
    json: { directive: 'continue', reason: null },
  });
  await call('submitter', 'POST', `/v1/runs/${runId}/cancel`);
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: { ...report, seq: 2 } })).toMatchObject({
    json: { directive: 'stop' },
  });
  expect(await callAsAttempt(attemptId, 'POST', '/finish', { body: { outcome: 'cancelled', message: '' } })).toMatchObject({
    status: 200,
    json: {},
  });
});

test('an agent gets its spec in the protocol of the older of both', async () => {
  const spoken = async (headers: Record<string, string>) => (await callAsAttempt(attemptId, 'GET', '', { headers })).json;
  expect(await spoken({})).toMatchObject({ protocol: 1 });
  expect(await spoken({ [protocolHeader]: String(protocol) })).toMatchObject({ protocol });
  expect(await spoken({ [protocolHeader]: String(protocol + 1) })).toMatchObject({ protocol });
  expect(await spoken({ [protocolHeader]: 'one' })).toMatchObject({ status: 400, code: 'invalid_request' });
});

test.each([
  ['a NUL', 'bad record \0 in its cache', 'bad record \u2400 in its cache'],
  ['half an emoji', '\ude80\u{1f680}', '\ufffd\u{1f680}'],
  ['colours and an escape', '\x1b[31mError\x1b[0m\x1b]0;x\x07', 'Error\u241b]0;x\u2407'],
  ['more than the maximum', '\u{1f680}'.repeat(9_000), '\u{1f680}'.repeat(8_000)],
])('an attempt that ends with %s in its message ends, with the message cleaned for display', async (_, message, kept) => {
  const note = { type: 'note', level: 'info', message: message.slice(0, 100) };
  const badImage = { type: 'badImage', imageId: message.slice(0, 50), path: message.slice(0, 50), reason: message };
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: { ...report, items: [note, badImage] } })).toMatchObject({
    status: 200,
  });
  const finish = { outcome: 'failed', cause: 'infrastructure', code: 'program\0failed', message };
  expect(await callAsAttempt(attemptId, 'POST', '/finish', { body: finish })).toMatchObject({ status: 200 });
  const { state, failure } = await prisma.attempt.findUniqueOrThrow({ where: { id: attemptId } });
  expect([state, failure]).toEqual(['failed', { cause: 'infrastructure', code: 'program\u2400failed', message: kept }]);
});

test('messages of a newer peer may have unknown fields', async () => {
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: { ...report, novelty: true } })).toMatchObject({ status: 200 });
});

test('a report of several megabytes is accepted, one above the limit is rejected', async () => {
  const chunk = (_: unknown, index: number) => ({
    type: 'log',
    stream: 'stdout',
    offset: index * logChunkBytes,
    text: 'x'.repeat(logChunkBytes),
  });
  const logs = (chunks: number) => ({ ...report, items: Array.from({ length: chunks }, chunk) });
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: logs(100) })).toMatchObject({ status: 200 });
  expect((await callAsAttempt(attemptId, 'POST', '/reports', { body: logs(130) })).json).toMatchObject({
    status: 413,
    code: 'payload_too_large',
  });
});

test('the two servers do not serve the routes of each other', async () => {
  expect((await call('admin', 'GET', `/internal/v1/attempts/${attemptId}`)).json).toMatchObject({ status: 404 });
  expect((await internal.inject({ url: '/v1/runs', headers: { authorization: `Bearer ${secrets.admin}` } })).statusCode).toBe(404);
});

describe('data that no page could show', () => {
  const items = {
    'a point without a value': { type: 'metrics', name: 'loss', steps: [1, 2], values: [1], times: [1, 2] },
    'a point without a time': { type: 'metrics', name: 'loss', steps: [1, 2], values: [1, 2], times: [] },
    'a log offset beyond exact integers': { type: 'log', stream: 'stdout', offset: Number.MAX_SAFE_INTEGER, text: 'end' },
  };
  test.each(Object.entries(items))('%s is rejected', async (_, item) => {
    expect((await callAsAttempt(attemptId, 'POST', '/reports', { body: { ...report, items: [item] } })).json).toMatchObject({
      status: 400,
      code: 'invalid_request',
    });
  });

  test('the largest accepted log offset can be read', async () => {
    const offset = 2 ** 52;
    const item = { type: 'log', stream: 'stdout', offset, text: 'end' };
    expect((await callAsAttempt(attemptId, 'POST', '/reports', { body: { ...report, items: [item] } })).status).toBe(200);
    const page = await call('viewer', 'GET', `/v1/attempts/${attemptId}/logs`, { query: { offset: String(offset) } });
    expect(page.json).toMatchObject({ text: 'end', nextOffset: offset + 3 });
    const after = await call('viewer', 'GET', `/v1/attempts/${attemptId}/logs`, { query: { offset: String(offset + 3) } });
    expect(after.json).toMatchObject({ text: '', nextOffset: offset + 3 });
  });
});

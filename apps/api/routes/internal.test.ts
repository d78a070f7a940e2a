import { attemptSpec, protocol, protocolHeader } from '@cairn/contract';
import { attemptToken, newId } from '@cairn/runtime';
import { beforeEach, describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { stage, prisma, serverKey, secrets, call, callAsAttempt, internal } = await openTestApi();

let attemptId = '';
let runId = '';
let variant = 0;
beforeEach(async () => {
  variant += 1;
  runId = await stage.submit({ set: { 'prepare.testSeed': variant } });
  [attemptId = ''] = await stage.startAttempts(runId, 'prepare');
});

const report = { seq: 1, at: new Date().toISOString(), items: [] };
const paths = [
  ['GET', '', undefined],
  ['POST', '/start', { host: 'h', pid: 1, instance: 'another one', version: '1' }],
  ['POST', '/reports', report],
  ['POST', '/shards/claim', {}],
  ['POST', '/shards/0/commit', { rows: 1, rejected: 0, files: [], seconds: { read: 0, decode: 0, infer: 0, write: 0 } }],
  ['POST', '/shards/0/release', {}],
  ['POST', '/finish', { outcome: 'failed', cause: 'user', code: 'internal', message: 'x' }],
] as const;

describe.each(paths)('%s /internal/v1/attempts/:id%s', (method, path, body) => {
  test('refuses every token but that of the attempt and its generation', async () => {
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

  test('refuses an attempt that is over or was replaced, whatever it brings', async () => {
    await prisma.attempt.update({ where: { id: attemptId }, data: { generation: 2 } });
    expect((await callAsAttempt(attemptId, method, path, { body })).json).toMatchObject({ status: 409, code: 'superseded' });
    await prisma.attempt.update({ where: { id: attemptId }, data: { generation: 1, state: 'lost', endedAt: new Date() } });
    expect((await callAsAttempt(attemptId, method, path, { body })).json).toMatchObject({ status: 409, code: 'superseded' });
  });
});

test('an attempt that is alive is told what to do, and goes on', async () => {
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

test('messages of a newer peer may have fields that are not known here', async () => {
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: { ...report, novelty: true } })).toMatchObject({ status: 200 });
});

test('a report of megabytes is taken, one above the limit is refused', async () => {
  const log = (characters: number) => ({ ...report, items: [{ type: 'log', stream: 'stdout', offset: 0, text: 'x'.repeat(characters) }] });
  expect(await callAsAttempt(attemptId, 'POST', '/reports', { body: log(6_000_000) })).toMatchObject({ status: 200 });
  expect((await callAsAttempt(attemptId, 'POST', '/reports', { body: log(9_000_000) })).json).toMatchObject({
    status: 413,
    code: 'payload_too_large',
  });
});

test('the two servers do not serve each other', async () => {
  expect((await call('admin', 'GET', `/internal/v1/attempts/${attemptId}`)).json).toMatchObject({ status: 404 });
  expect((await internal.inject({ url: '/v1/runs', headers: { authorization: `Bearer ${secrets.admin}` } })).statusCode).toBe(404);
});

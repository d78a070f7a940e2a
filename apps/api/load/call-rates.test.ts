import { newId } from '@cairn/runtime';
import { expect, test } from 'vitest';
import { hashSecret, newSecret } from '../auth/secrets.ts';
import { noBounds, openTestApi } from '../testing/test-api.ts';
import { createRateLimit } from './call-rates.ts';

const { openReplica, secrets, call, prisma } = await openTestApi();

test('each token has its own rate limit, callers without one share that of their address, and health checks are not limited', async () => {
  const { api } = await openReplica({ bounds: { ...noBounds, rates: { perToken: 5, perAddress: 5 } } });
  const ask = (secret: string, remoteAddress = '10.0.0.1') =>
    api.inject({ url: '/v1/recipes', headers: { authorization: `Bearer ${secret}` }, remoteAddress });
  const codes = async (times: number, secret: string, address?: string) =>
    (await Promise.all(Array.from({ length: times }, () => ask(secret, address)))).map((answer) => answer.statusCode);
  expect(await codes(1, secrets.viewer)).toEqual([200]);

  // A client guesses tokens from the same address: after a while without a database query.
  const guesses = await codes(40, 'cairn_guess');
  expect(new Set(guesses)).toEqual(new Set([401, 429]));
  expect(guesses.filter((code) => code === 401).length).toBeLessThanOrEqual(12);
  // Known tokens and other addresses still work; health checks always do.
  expect(await codes(1, secrets.viewer)).toEqual([200]);
  expect(await codes(1, 'cairn_guess', '10.0.0.2')).toEqual([401]);
  for (let probe = 0; probe < 40; probe += 1)
    expect((await api.inject({ url: '/healthz', remoteAddress: '10.0.0.1' })).statusCode).toBe(200);

  const known = await Promise.all(Array.from({ length: 40 }, () => ask(secrets.viewer)));
  expect(new Set(known.map((answer) => answer.statusCode))).toEqual(new Set([200, 429]));
  // One of these: on a busy machine the next call may be allowed again.
  const refused = known.find((answer) => answer.statusCode === 429);
  expect(refused?.json()).toMatchObject({ code: 'rate_limited', detail: expect.stringContaining('5 calls per second') });
  expect(Number(refused?.headers['retry-after'])).toBeGreaterThanOrEqual(1);
});

test('a trusted proxy names the client address; from others that header is ignored', async () => {
  const rates = { perToken: 0, perAddress: 2 };
  const { api } = await openReplica({ bounds: { ...noBounds, rates, connections: { ...noBounds.connections, trusted: ['10.1.0.0/16'] } } });
  const guess = (remoteAddress: string, client: string) =>
    api.inject({ url: '/v1/recipes', remoteAddress, headers: { authorization: 'Bearer cairn_guess', 'x-forwarded-for': client } });
  const codes = [];
  for (let client = 0; client < 10; client += 1) codes.push((await guess('10.1.0.1', `192.0.2.${client}`)).statusCode);
  expect(new Set(codes)).toEqual(new Set([401]));
  codes.length = 0;
  for (let client = 0; client < 10; client += 1) codes.push((await guess('10.9.0.1', `192.0.2.${client}`)).statusCode);
  expect(codes).toContain(429);
});

test('a call with an insufficient role is audited by token, once for any number of attempts', async () => {
  for (let tries = 0; tries < 5; tries += 1) expect((await call('viewer', 'POST', '/v1/gc', { body: {} })).status).toBe(403);
  const { json } = await call('admin', 'GET', '/v1/audit');
  expect(json.items).toMatchObject([
    {
      actor: 'a-viewer',
      action: 'call.refused',
      target: 'POST /v1/gc',
      tokenId: expect.stringMatching(/^tok_/),
      details: { code: 'forbidden' },
    },
  ]);
});

test('what a handler refuses is audited too: a change of what others own, and a sign-in with a token that is over', async () => {
  const recorded = () => prisma.auditEntry.findMany({ where: { action: 'call.refused' }, orderBy: { id: 'desc' }, take: 1 });
  const schedule = { id: newId('schedule'), projectId: 'default', owner: 'ada', name: 'of-ada', cron: '0 3 * * *', zone: 'UTC' };
  await prisma.schedule.create({ data: { ...schedule, overlap: 'queue', run: { recipe: 'mini' } } });
  expect((await call('submitter', 'DELETE', '/v1/schedules/of-ada')).status).toBe(403);
  expect(await recorded()).toMatchObject([{ actor: 'a-submitter', target: 'DELETE /v1/schedules/:name', details: { code: 'forbidden' } }]);
  const secret = newSecret();
  const over = { id: newId('token'), projectId: 'default', name: 'over', role: 'admin', hash: hashSecret(secret), revokedAt: new Date() };
  await prisma.token.create({ data: over });
  expect((await call(null, 'POST', '/v1/session', { body: { token: secret } })).status).toBe(401);
  expect(await recorded()).toMatchObject([{ tokenId: over.id, target: 'POST /v1/session', details: { code: 'unauthenticated' } }]);
});

test('all sessions of a token share its rate limit', async () => {
  const { api } = await openReplica({ bounds: { ...noBounds, rates: { perToken: 5, perAddress: 100 } } });
  const cookies: string[] = [];
  for (let n = 0; n < 5; n += 1) {
    const answer = await api.inject({ method: 'POST', url: '/v1/session', payload: { token: secrets.submitter } });
    cookies.push(String(answer.headers['set-cookie']).split(';')[0] ?? '');
  }
  const ask = async (cookie: string) => (await api.inject({ url: '/v1/me', headers: { cookie } })).statusCode;
  for (const cookie of cookies) expect(await ask(cookie)).toBe(200);
  const begin = performance.now();
  const codes = await Promise.all(Array.from({ length: 60 }, (_, n) => ask(cookies[n % 5] ?? '')));
  const allowed = 5 * (2 + (performance.now() - begin) / 1000) + 1;
  expect(codes.filter((code) => code === 200).length).toBeLessThanOrEqual(allowed);
  expect(codes).toContain(429);
});

test('each key has its own allowance, which refills', () => {
  let at = 0;
  const limit = createRateLimit({ perSecond: 10, most: 100, now: () => at });
  const taken = (key: string, times: number) =>
    Array.from({ length: times }, () => limit.take(key)).filter((waitMs) => waitMs === 0).length;
  expect(taken('a', 50)).toBe(20);
  expect(limit.take('a')).toBe(100);
  expect(taken('b', 50)).toBe(20);
  at += 1_000;
  expect(taken('a', 50)).toBe(10);
  at += 60_000;
  expect(taken('a', 50)).toBe(20);
});

test('less than one per second still allows one', () => {
  let at = 0;
  const limit = createRateLimit({ perSecond: 0.1, most: 100, now: () => at });
  expect(limit.take('a')).toBe(0);
  expect(limit.take('a')).toBe(10_000);
  at += 10_000;
  expect(limit.take('a')).toBe(0);
});

test('0 is unlimited, and the number of remembered keys is limited', () => {
  const none = createRateLimit({ perSecond: 0, most: 100 });
  for (let call = 0; call < 1_000; call += 1) expect(none.take('a')).toBe(0);
  const limit = createRateLimit({ perSecond: 10, most: 100 });
  for (let key = 0; key < 1_000; key += 1) limit.take(String(key));
  expect(limit.size()).toBe(100);
});

test('the first call of a key is always allowed, despite clock rounding', () => {
  let at = 0;
  const limit = createRateLimit({ perSecond: 1 / 60, most: 10_000, now: () => at });
  for (let key = 0; key < 5_000; key += 1) {
    at += Math.PI;
    expect(limit.take(String(key))).toBe(0);
  }
});

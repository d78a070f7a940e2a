import { expect, test } from 'vitest';
import { noBounds, openTestApi } from '../testing/test-api.ts';

const { openReplica, secrets, call } = await openTestApi();

test('a token has its own rate, strangers share that of their address, and health checks have none', async () => {
  const { api } = await openReplica({ bounds: { ...noBounds, rates: { perToken: 5, perAddress: 5 } } });
  const ask = (secret: string, remoteAddress = '10.0.0.1') =>
    api.inject({ url: '/v1/recipes', headers: { authorization: `Bearer ${secret}` }, remoteAddress });
  const codes = async (times: number, secret: string, address?: string) =>
    (await Promise.all(Array.from({ length: times }, () => ask(secret, address)))).map((answer) => answer.statusCode);
  expect(await codes(1, secrets.viewer)).toEqual([200]);

  // Somebody tries tokens from the same address: at last without the database being asked.
  const guesses = await codes(40, 'cairn_guess');
  expect(new Set(guesses)).toEqual(new Set([401, 429]));
  expect(guesses.filter((code) => code === 401).length).toBeLessThanOrEqual(12);
  // Who was there before goes on, also another address; a health check always.
  expect(await codes(1, secrets.viewer)).toEqual([200]);
  expect(await codes(1, 'cairn_guess', '10.0.0.2')).toEqual([401]);
  for (let probe = 0; probe < 40; probe += 1)
    expect((await api.inject({ url: '/healthz', remoteAddress: '10.0.0.1' })).statusCode).toBe(200);

  const known = await codes(40, secrets.viewer);
  expect(new Set(known)).toEqual(new Set([200, 429]));
  const refused = await ask(secrets.viewer);
  expect(refused.json()).toMatchObject({ code: 'rate_limited', detail: expect.stringContaining('5 calls a second') });
  expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
});

test('behind a trusted proxy the address is the one that it names; from others that header counts for nothing', async () => {
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

test('a call that a role forbids is in the audit, by the token, once however often it is tried', async () => {
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

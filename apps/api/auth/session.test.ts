import { actionsOfRole } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { noBounds, openTestApi } from '../testing/test-api.ts';
import { hashSecret, newSecret } from './secrets.ts';

const { api, prisma, secrets, call, openReplica } = await openTestApi();

const sameOrigin = { 'sec-fetch-site': 'same-origin' };

async function makeToken(values: Partial<{ expiresAt: Date; role: string }> = {}) {
  const secret = newSecret();
  const data = { id: newId('token'), projectId: 'default', name: newId('token'), role: 'submitter', hash: hashSecret(secret), ...values };
  return { secret, ...(await prisma.token.create({ data })) };
}

/** Signs a browser in and returns its cookie. */
async function signIn(token: string, { headers = {}, server = api }: { headers?: Record<string, string>; server?: typeof api } = {}) {
  const answer = await server.inject({ method: 'POST', url: '/v1/session', headers: { ...sameOrigin, ...headers }, payload: { token } });
  expect(answer.statusCode, answer.body).toBe(204);
  const text = String(answer.headers['set-cookie']);
  return { text, cookie: text.split(';')[0] ?? '' };
}

const ask = (cookie: string, server = api) => server.inject({ url: '/v1/me', headers: { cookie } });

describe('a session', () => {
  test('is started with a token, accepted by every replica in its place, and ended', async () => {
    const token = await makeToken();
    const { text, cookie } = await signIn(token.secret);
    expect(text).toMatch(/^cairn_session=session_[\w-]{43}; Max-Age=2592000; Path=\/; HttpOnly; SameSite=Strict$/);
    const stored = await prisma.session.findFirstOrThrow({ where: { tokenId: token.id } });
    expect(stored.hash).toBe(hashSecret(cookie.split('=')[1] ?? ''));
    expect(JSON.stringify(stored)).not.toContain(token.secret);
    // As after a restart: nothing is in the memory of a program.
    const other = await openReplica();
    expect((await ask(cookie, other.api)).json()).toEqual({
      tokenId: token.id,
      tokenName: token.name,
      role: 'submitter',
      expiresAt: stored.expiresAt.toISOString(),
      actions: actionsOfRole('submitter'),
    });
    const ended = await api.inject({ method: 'DELETE', url: '/v1/session', headers: { cookie, ...sameOrigin } });
    expect(ended.statusCode).toBe(204);
    expect(ended.headers['set-cookie']).toMatch(/^cairn_session=; Max-Age=0/);
    expect((await ask(cookie)).json()).toMatchObject({ status: 401, detail: 'The session has ended; sign in again' });
    const actions = await prisma.auditEntry.findMany({ where: { tokenId: token.id }, orderBy: { id: 'asc' }, select: { action: true } });
    expect(actions).toEqual([{ action: 'session.start' }, { action: 'session.end' }]);
  });

  test('is not started with an unknown token, and a token in the Authorization header goes first', async () => {
    const refused = await api.inject({ method: 'POST', url: '/v1/session', headers: sameOrigin, payload: { token: newSecret() } });
    expect(refused.statusCode).toBe(401);
    expect(refused.headers['set-cookie']).toBeUndefined();
    const { cookie } = await signIn(secrets.viewer);
    const asAdmin = await api.inject({ url: '/v1/me', headers: { cookie, authorization: `Bearer ${secrets.admin}` } });
    expect(asAdmin.json()).toMatchObject({ role: 'admin' });
    expect((await api.inject({ url: '/v1/me', headers: { cookie, authorization: 'Bearer no' } })).statusCode).toBe(401);
    // A session's secret is not a token.
    expect((await api.inject({ url: '/v1/me', headers: { authorization: `Bearer ${cookie.split('=')[1]}` } })).statusCode).toBe(401);
  });

  test('ends with its token, by revocation or by time', async () => {
    const token = await makeToken();
    const { cookie } = await signIn(token.secret);
    expect((await ask(cookie)).statusCode).toBe(200);
    expect((await call('admin', 'DELETE', `/v1/tokens/${token.id}`)).status).toBe(204);
    expect((await ask(cookie)).json()).toMatchObject({ status: 401, detail: expect.stringContaining('was revoked') });
    const brief = await makeToken({ expiresAt: new Date(Date.now() + 60_000) });
    const { text } = await signIn(brief.secret);
    expect(Number(/Max-Age=(\d+)/.exec(text)?.[1])).toBeLessThanOrEqual(60);
    await prisma.session.updateMany({ where: { tokenId: brief.id }, data: { expiresAt: new Date(0) } });
    expect((await ask(text.split(';')[0] ?? '')).json()).toMatchObject({ status: 401, detail: expect.stringContaining('sign in again') });
    // The next sign-in removes it.
    await signIn(secrets.viewer);
    expect(await prisma.session.count({ where: { tokenId: brief.id } })).toBe(0);
  });

  test('is one of at most 100 of its token: the oldest gives its place to the newest', async () => {
    const token = await makeToken();
    const { cookie } = await signIn(token.secret);
    await prisma.session.updateMany({ where: { tokenId: token.id }, data: { createdAt: new Date(0) } });
    const expiresAt = new Date(Date.now() + 60_000);
    await prisma.session.createMany({
      data: Array.from({ length: 99 }, (_, n) => ({ hash: `${token.id} ${n}`, tokenId: token.id, expiresAt })),
    });
    expect((await ask(cookie)).statusCode).toBe(200);
    await signIn(token.secret);
    expect(await prisma.session.count({ where: { tokenId: token.id } })).toBe(100);
    expect((await ask(cookie)).statusCode).toBe(401);
  });

  test('has a cookie that only HTTPS carries, where a trusted proxy says that the browser uses it', async () => {
    const bounds = { connections: { most: 0, perAddress: 0, trusted: ['127.0.0.1'] } };
    const { api: behind } = await openReplica({ bounds: { ...noBounds, ...bounds } });
    const headers = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'cairn.example' };
    const { text, cookie } = await signIn(secrets.viewer, { headers, server: behind });
    expect(text).toMatch(/^__Host-cairn_session=.*; Path=\/; HttpOnly; Secure; SameSite=Strict$/);
    expect((await behind.inject({ url: '/v1/me', headers: { cookie, ...headers } })).statusCode).toBe(200);
    // Without HTTPS, or from a caller that is not the proxy, it is another cookie.
    expect((await behind.inject({ url: '/v1/me', headers: { cookie } })).statusCode).toBe(401);
    const change = (origin: string) =>
      behind.inject({ method: 'POST', url: '/v1/runs?dryRun=true', headers: { cookie, ...headers, origin }, payload: {} });
    expect((await change('https://cairn.example')).json()).toMatchObject({ code: 'forbidden' });
    expect((await change('https://cairn.example.evil.example')).json()).toMatchObject({ code: 'cross_site' });
  });
});

describe('a change with a cookie', () => {
  const change = (headers: Record<string, string>) =>
    api.inject({ method: 'POST', url: '/v1/runs', headers: { host: 'cairn.example:8080', ...headers }, payload: { recipe: 1 } });

  test.each([
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'none' },
    { 'sec-fetch-site': 'cross-site', origin: 'http://cairn.example:8080' },
    { origin: 'http://evil.example' },
    { origin: 'http://cairn.example:9090' },
    { origin: 'null' },
    {},
  ])('is refused from %j', async (headers) => {
    const { cookie } = await signIn(secrets.submitter);
    expect((await change({ cookie, ...headers })).json()).toMatchObject({ status: 403, code: 'cross_site' });
    expect((await api.inject({ method: 'DELETE', url: '/v1/session', headers: { cookie, ...headers } })).statusCode).toBe(403);
    // Reading is safe: another site cannot see the answer. A token is never sent by itself.
    expect((await api.inject({ url: '/v1/me', headers: { cookie, ...headers } })).statusCode).toBe(200);
    expect((await change({ authorization: `Bearer ${secrets.submitter}`, ...headers })).json()).toMatchObject({ code: 'invalid_request' });
  });

  test.each([sameOrigin, { ...sameOrigin, origin: 'http://cairn.example:8080' }, { origin: 'http://cairn.example:8080' }])(
    'is accepted from %j',
    async (headers) => {
      const { cookie } = await signIn(secrets.submitter);
      // The schema refuses it, so it has passed the check.
      expect((await change({ cookie, ...headers })).json()).toMatchObject({ code: 'invalid_request' });
    },
  );

  test('needs the role of its token', async () => {
    const { cookie } = await signIn(secrets.viewer);
    expect((await change({ cookie, ...sameOrigin })).json()).toMatchObject({ status: 403, code: 'forbidden' });
  });

  test('is what signing in from another site is too', async () => {
    const headers = { 'sec-fetch-site': 'cross-site' };
    const answer = await api.inject({ method: 'POST', url: '/v1/session', headers, payload: { token: secrets.viewer } });
    expect(answer.json()).toMatchObject({ code: 'cross_site' });
    expect(answer.headers['set-cookie']).toBeUndefined();
  });
});

test('a stream with a cookie ends soon after its token is revoked', async () => {
  const { api: quick } = await openReplica({ heartbeatMs: 50 });
  const url = await quick.listen({ host: '127.0.0.1', port: 0 });
  const token = await makeToken();
  const { cookie } = await signIn(token.secret);
  const response = await fetch(`${url}/v1/events?topics=runs`, { headers: { cookie } });
  expect(response.status).toBe(200);
  await call('admin', 'DELETE', `/v1/tokens/${token.id}`);
  await expect(response.text()).resolves.toContain('event: reset');
});

import { attemptToken, newId } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';
import { ensureBootstrapToken, hashSecret, newSecret } from './secrets.ts';

const { api, prisma, serverKey } = await openTestApi();

describe('a token', () => {
  const ask = (authorization: string) => api.inject({ url: '/v1/runs', headers: { authorization } });
  async function make(values: Partial<{ expiresAt: Date; revokedAt: Date; lastUsedAt: Date }> = {}) {
    const secret = newSecret();
    const row = await prisma.token.create({
      data: { id: newId('token'), projectId: 'default', name: newId('token'), role: 'viewer', hash: hashSecret(secret), ...values },
    });
    return { secret, lastUsed: async () => (await prisma.token.findUniqueOrThrow({ where: { id: row.id } })).lastUsedAt?.getTime() };
  }

  test('is valid until it expires or is revoked', async () => {
    const good = await make({ expiresAt: new Date(Date.now() + 60_000) });
    expect((await ask(`Bearer ${good.secret}`)).statusCode).toBe(200);
    expect((await ask(`bearer  ${good.secret} `)).statusCode).toBe(200);
    const expired = await make({ expiresAt: new Date(Date.now() - 1) });
    expect((await ask(`Bearer ${expired.secret}`)).json()).toMatchObject({
      code: 'unauthenticated',
      detail: expect.stringContaining('expired'),
    });
    const revoked = await make({ revokedAt: new Date() });
    expect((await ask(`Bearer ${revoked.secret}`)).json()).toMatchObject({
      code: 'unauthenticated',
      detail: expect.stringContaining('revoked'),
    });
  });

  test.each(['', 'Bearer', 'Bearer nonsense', 'Basic YTpi', `Bearer ${'x'.repeat(8000)}`])(
    'that is malformed (%.20s) is rejected',
    async (authorization) => {
      expect((await ask(authorization)).statusCode).toBe(401);
    },
  );

  test('of an attempt is valid for /internal only', async () => {
    const answer = await ask(`Bearer ${attemptToken(serverKey, newId('attempt'), 1)}`);
    expect(answer.json()).toMatchObject({ code: 'unauthenticated', detail: expect.stringContaining('/internal') });
  });

  test('records when it was last used, at most once a minute', async () => {
    const fresh = await make();
    await ask(`Bearer ${fresh.secret}`);
    const first = await fresh.lastUsed();
    expect(first).toBeGreaterThan(Date.now() - 10_000);
    await ask(`Bearer ${fresh.secret}`);
    expect(await fresh.lastUsed()).toBe(first);
    const old = await make({ lastUsedAt: new Date(Date.now() - 61_000) });
    await ask(`Bearer ${old.secret}`);
    expect(await old.lastUsed()).toBeGreaterThan(Date.now() - 10_000);
  });
});

describe('the bootstrap token', () => {
  const asAdmin = (secret: string) => api.inject({ url: '/v1/tokens', headers: { authorization: `Bearer ${secret}` } });

  test('is an admin from the start, created once by replicas that start together, and replaced when it changes', async () => {
    const [first, second] = [newSecret(), newSecret()];
    await Promise.all([1, 2, 3].map(() => ensureBootstrapToken(prisma, first)));
    expect(await prisma.token.count({ where: { name: 'bootstrap' } })).toBe(1);
    expect((await asAdmin(first)).statusCode).toBe(200);
    await ensureBootstrapToken(prisma, second);
    expect((await asAdmin(first)).statusCode).toBe(401);
    expect((await asAdmin(second)).statusCode).toBe(200);
    await prisma.token.updateMany({ where: { name: 'bootstrap' }, data: { revokedAt: new Date() } });
    // The next start works without it, and a new secret is valid again.
    expect(await ensureBootstrapToken(prisma, second)).toBeInstanceOf(Date);
    expect((await asAdmin(second)).statusCode).toBe(401);
    const third = newSecret();
    expect(await ensureBootstrapToken(prisma, third)).toBeNull();
    expect((await asAdmin(third)).statusCode).toBe(200);
  });

  test("is rejected when it is another token's secret", async () => {
    const secret = newSecret();
    await prisma.token.create({ data: { id: newId('token'), projectId: 'default', name: 'ci', role: 'viewer', hash: hashSecret(secret) } });
    await expect(ensureBootstrapToken(prisma, secret)).rejects.toThrow('it is the token ci');
  });
});

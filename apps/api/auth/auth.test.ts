import { tokenRole } from '@cairn/contract';
import { attemptToken, newId } from '@cairn/runtime';
import { describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';
import { ensureBootstrapToken } from './bootstrap-token.ts';
import { hashSecret, newSecret } from './secrets.ts';

const { api, call, prisma, serverKey } = await openTestApi();

/** The least role of every operation of /v1. A new one must be added here by hand. */
const needed = {
  listRuns: 'viewer',
  getRun: 'viewer',
  listRunEvents: 'viewer',
  getStep: 'viewer',
  listAttempts: 'viewer',
  readMetrics: 'viewer',
  listShards: 'viewer',
  getAttempt: 'viewer',
  readLog: 'viewer',
  listTensorBoardFiles: 'viewer',
  readTensorBoardFile: 'viewer',
  listDatasets: 'viewer',
  getDataset: 'viewer',
  listWeights: 'viewer',
  getWeights: 'viewer',
  listRecipes: 'viewer',
  getRecipe: 'viewer',
  listModels: 'viewer',
  listModelVersions: 'viewer',
  getArtifact: 'viewer',
  getFleet: 'viewer',
  streamEvents: 'viewer',
  submitRun: 'submitter',
  cancelRun: 'submitter',
  retryRun: 'submitter',
  addDataset: 'submitter',
  importWeights: 'submitter',
  removeWeights: 'submitter',
  collectGarbage: 'admin',
  listTokens: 'admin',
  createToken: 'admin',
  revokeToken: 'admin',
  listAudit: 'admin',
} as const;

type Operation = { operationId: keyof typeof needed; method: 'GET' | 'POST' | 'PUT' | 'DELETE'; url: string };
const document = (await call(null, 'GET', '/openapi.json')).json as {
  paths: Record<string, Record<string, { operationId: Operation['operationId'] }>>;
};
/** Ids and bodies that no schema lets through: a call that is let in changes nothing. */
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(
    ([method, { operationId }]): Operation => ({
      operationId,
      method: method.toUpperCase() as Operation['method'],
      url: path.replaceAll(/\{\w+\}/g, '-'),
    }),
  ),
);

test('every operation of /v1 has its role, and no other path wants a token', () => {
  const guarded = operations.filter(({ url }) => url.startsWith('/v1')).map(({ operationId }) => operationId);
  expect(guarded.toSorted()).toEqual(Object.keys(needed).toSorted());
});

describe.each(operations.filter(({ url }) => url.startsWith('/v1')))('$operationId', ({ operationId, method, url }) => {
  test('is refused without a token', async () => {
    expect((await call(null, method, url)).json).toMatchObject({ status: 401, code: 'unauthenticated' });
  });
  test.each(tokenRole.options)('with the role %s', async (role) => {
    const { status, json } = await call(role, method, url, { body: method === 'POST' ? 0 : undefined });
    const isEnough = tokenRole.options.indexOf(role) >= tokenRole.options.indexOf(needed[operationId]);
    if (isEnough) expect([401, 403]).not.toContain(status);
    else expect(json).toMatchObject({ status: 403, code: 'forbidden', details: { role, needed: needed[operationId] } });
  });
});

describe('a token', () => {
  const ask = (authorization: string) => api.inject({ url: '/v1/runs', headers: { authorization } });
  async function make(values: Partial<{ expiresAt: Date; revokedAt: Date; lastUsedAt: Date }> = {}) {
    const secret = newSecret();
    const row = await prisma.token.create({
      data: { id: newId('token'), projectId: 'default', name: newId('token'), role: 'viewer', hash: hashSecret(secret), ...values },
    });
    return { secret, lastUsed: async () => (await prisma.token.findUniqueOrThrow({ where: { id: row.id } })).lastUsedAt?.getTime() };
  }

  test('is good until it expires or is revoked', async () => {
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
    'that is none (%.20s) is refused',
    async (authorization) => {
      expect((await ask(authorization)).statusCode).toBe(401);
    },
  );

  test('of an attempt is good for /internal alone', async () => {
    const answer = await ask(`Bearer ${attemptToken(serverKey, newId('attempt'), 1)}`);
    expect(answer.json()).toMatchObject({ code: 'unauthenticated', detail: expect.stringContaining('/internal') });
  });

  test('says when it was last used, written once a minute', async () => {
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

  test('is an admin from the start, made once by replicas that start together, and replaced by a changed one', async () => {
    const [first, second] = [newSecret(), newSecret()];
    await Promise.all([1, 2, 3].map(() => ensureBootstrapToken(prisma, first)));
    expect(await prisma.token.count({ where: { name: 'bootstrap' } })).toBe(1);
    expect((await asAdmin(first)).statusCode).toBe(200);
    await ensureBootstrapToken(prisma, second);
    expect((await asAdmin(first)).statusCode).toBe(401);
    expect((await asAdmin(second)).statusCode).toBe(200);
    await prisma.token.updateMany({ where: { name: 'bootstrap' }, data: { revokedAt: new Date() } });
    // The next start goes on without it, and a new secret is good again.
    expect(await ensureBootstrapToken(prisma, second)).toBeInstanceOf(Date);
    expect((await asAdmin(second)).statusCode).toBe(401);
    const third = newSecret();
    expect(await ensureBootstrapToken(prisma, third)).toBeNull();
    expect((await asAdmin(third)).statusCode).toBe(200);
  });

  test("is refused where it is another token's secret", async () => {
    const secret = newSecret();
    await prisma.token.create({ data: { id: newId('token'), projectId: 'default', name: 'ci', role: 'viewer', hash: hashSecret(secret) } });
    await expect(ensureBootstrapToken(prisma, secret)).rejects.toThrow('it is the token ci');
  });
});

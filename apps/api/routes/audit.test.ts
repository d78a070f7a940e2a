import { scheduleRequest } from '@cairn/contract';
import { Prisma } from '@cairn/db';
import { type Actor, audit } from '@cairn/engine';
import { ada, request, smallRecipe } from '@cairn/engine/testing';
import { newId, sha256 } from '@cairn/runtime';
import { afterEach, describe, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { call, prisma, harness } = await openTestApi();

let variant = 0;
const distinct = () => {
  variant += 1;
  return { 'stages.first.seed': variant, 'prepare.testSeed': variant };
};
const submit = () => harness.submit({ set: distinct() });
const cancel = (runId: string) => harness.engine.cancelRun(runId, ada, 'enough');
const octets = (text: string) => Buffer.from(text);
const put = (name: string) =>
  call('submitter', 'PUT', `/v1/weights/${name}`, { octets: octets(name), query: { backbone: 'resnet18', sha256: sha256(octets(name)) } });
const makeToken = (name: string) => call('admin', 'POST', '/v1/tokens', { body: { name, role: 'viewer' } });
const source = { kind: 'folder', root: '/r', metadata: '/m', countries: null } as const;
const addDataset = (name: string) =>
  harness.engine.registerDataset({ name, source, digest: sha256(name), digestBasis: 'test', files: { metadata: {}, images: {} } }, ada);

/** Each command: its preparation, its action, and the value that it changes. */
const commands: [string, () => Promise<{ act: () => Promise<unknown>; readState: () => Promise<unknown>; after: object | null }>][] = [
  [
    'run.submit',
    async () => ({
      act: () => harness.engine.submitRun(request({ name: 'audited', set: distinct() }), ada, null),
      readState: () => prisma.run.count(),
      after: { name: 'audited', recipe: 'small', dataset: 'toy@1', priority: 0 },
    }),
  ],
  [
    'run.cancel',
    async () => {
      const id = await submit();
      return { act: () => cancel(id), readState: () => prisma.run.findUnique({ where: { id } }), after: { state: 'cancelling' } };
    },
  ],
  [
    'run.retry',
    async () => {
      const id = await submit();
      await cancel(id);
      const readState = () => prisma.run.findUnique({ where: { id }, include: { steps: true } });
      return { act: () => harness.engine.retryRun(id, ada, null), readState, after: { state: 'running', steps: { prepare: 'blocked' } } };
    },
  ],
  [
    'dataset.add',
    async () => ({ act: () => addDataset('audited'), readState: () => prisma.dataset.count(), after: { name: 'audited', version: 1 } }),
  ],
  [
    'schedule.add',
    async () => ({
      act: () =>
        harness.engine.addSchedule(scheduleRequest.parse({ name: 'audited', onDataset: 'toy', run: { recipe: smallRecipe } }), ada),
      readState: () => prisma.schedule.count(),
      after: { onDataset: 'toy', cron: null, overlap: 'queue' },
    }),
  ],
  [
    'weights.import',
    async () => ({ act: () => put('audited'), readState: () => prisma.weights.count(), after: { name: 'audited', bytes: 7 } }),
  ],
  [
    'weights.remove',
    async () => {
      await put('removed');
      return { act: () => call('submitter', 'DELETE', '/v1/weights/removed'), readState: () => prisma.weights.count(), after: null };
    },
  ],
  [
    'token.create',
    async () => ({ act: () => makeToken('audited'), readState: () => prisma.token.count(), after: { name: 'audited', role: 'viewer' } }),
  ],
  [
    'token.revoke',
    async () => {
      const { id } = (await makeToken('revoked')).json;
      const readState = () => prisma.token.findUnique({ where: { id } });
      return {
        act: () => call('admin', 'DELETE', `/v1/tokens/${id}`),
        readState,
        after: { name: 'revoked', revokedAt: expect.any(String) },
      };
    },
  ],
  [
    'budget.set',
    async () => ({
      act: () => harness.engine.setBudget('label:audited=yes', { gpuHours: 1, per: 'total', warnPercent: 80 }, ada),
      readState: () => prisma.budget.count(),
      after: { gpuHours: 1, per: 'total', warnPercent: 80 },
    }),
  ],
  [
    'run.release',
    async () => {
      const labels = { held: 'yes' };
      await harness.engine.setBudget('label:held=yes', { gpuHours: 0, per: 'month', warnPercent: 80 }, ada);
      const id = await harness.submit({ set: distinct(), labels });
      return {
        act: () => harness.engine.releaseRun(id, ada),
        readState: () => prisma.run.findUnique({ where: { id }, include: { steps: true } }),
        after: { state: 'queued' },
      };
    },
  ],
  [
    'garbage.collect',
    async () => {
      const unreferred = { id: newId('artifact'), projectId: 'default', kind: 'lists', state: 'ready', prefix: 'lists/a/', stepName: 'a' };
      await prisma.artifact.create({ data: { ...unreferred, createdAt: new Date(0) } });
      const readState = () => prisma.artifact.findUnique({ where: { id: unreferred.id } });
      return { act: () => call('admin', 'POST', '/v1/gc', { body: { olderThanHours: 1 } }), readState, after: null };
    },
  ],
];

/** Makes every commit that changed one of the tables fail, as when the program or the database dies during it. */
async function failCommits(...tables: string[]): Promise<void> {
  await allowCommits();
  await prisma.$executeRaw`create function fail_commit() returns trigger language plpgsql as $$ begin raise exception 'the commit fails'; end $$`;
  for (const table of tables)
    await prisma.$executeRaw`create constraint trigger fail_commit after insert or update or delete on ${Prisma.raw(table)}
      deferrable initially deferred for each row execute function fail_commit()`;
}
const allowCommits = () => prisma.$executeRaw`drop function if exists fail_commit cascade`;
afterEach(allowCommits);

const entries = () => prisma.auditEntry.findMany({ orderBy: { id: 'asc' } });

describe('an entry of the audit', () => {
  test.each(commands)('is written with the change or not at all: %s', async (action, prepare) => {
    const { act, readState, after } = await prepare();
    const [state, written] = [await readState(), await entries()];
    for (const tables of [['audit_entry'], ['run', 'dataset', 'weights', 'token', 'artifact', 'schedule', 'budget']]) {
      await failCommits(...tables);
      // Over HTTP a failure is a response.
      await act().catch(() => null);
      expect(await readState()).toEqual(state);
      expect(await entries()).toEqual(written);
    }

    await allowCommits();
    await act();
    expect(await readState()).not.toEqual(state);
    const added = (await entries()).slice(written.length);
    expect(added).toMatchObject([{ action, after, address: expect.stringMatching(/^(127\.0\.0\.1|192\.0\.2\.7)$/) }]);
    expect(added[0]?.tokenId).toMatch(/^tok_/);
  });

  test('is not written for a command that is rejected or changes nothing', async () => {
    const id = await submit();
    await cancel(id);
    await makeToken('twice');
    const written = await entries();
    await cancel(id);
    const succeeded = await prisma.run.create({
      data: {
        ...(await prisma.run.findUniqueOrThrow({ where: { id } })),
        id: newId('run'),
        state: 'succeeded',
        recipe: {},
        request: {},
        origin: { kind: 'person' },
        source: Prisma.DbNull,
        labels: {},
        noReuse: false,
        gate: Prisma.DbNull,
      },
    });
    await expect(cancel(succeeded.id)).rejects.toMatchObject({ code: 'wrong_state' });
    await expect(harness.engine.retryRun(id, ada, 'nothing')).rejects.toMatchObject({ code: 'not_found' });
    expect(await makeToken('twice')).toMatchObject({ status: 409 });
    expect(await call('admin', 'DELETE', `/v1/tokens/${newId('token')}`)).toMatchObject({ status: 404 });
    expect(await entries()).toEqual(written);
  });

  test('records the values before and after, and is listed with them', async () => {
    const actor: Actor = { ...ada, name: 'bob' };
    const change = { action: 'weights.remove', target: 'wts_1', before: { name: 'a' }, after: null, details: { why: 'unused' } } as const;
    await audit(prisma, actor, change);
    const { json } = await call('admin', 'GET', '/v1/audit', { query: { limit: '1' } });
    expect(json.items).toEqual([{ ...change, at: expect.any(String), actor: 'bob', tokenId: ada.tokenId, address: ada.address }]);
  });

  test('of an earlier version, without address and change, is listed too', async () => {
    await prisma.auditEntry.create({
      data: { projectId: 'default', actor: 'eve', action: 'run.submit', target: 'run_1', details: { name: 'a' } },
    });
    const { json } = await call('admin', 'GET', '/v1/audit', { query: { limit: '1' } });
    expect(json.items).toMatchObject([{ actor: 'eve', tokenId: null, address: null, before: null, after: null, details: { name: 'a' } }]);
  });
});

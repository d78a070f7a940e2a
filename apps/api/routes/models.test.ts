import { newId } from '@cairn/runtime';
import { beforeAll, expect, test } from 'vitest';
import { openTestApi } from '../testing/test-api.ts';

const { call, prisma } = await openTestApi();

beforeAll(() =>
  prisma.model.createMany({
    data: [1, 2, 3].map((version) => ({
      ...{ id: newId('model'), projectId: 'default', owner: 'ada', name: 'landmark', version },
      ...{ runId: newId('run'), stepId: newId('step'), artifacts: {}, metrics: {} },
    })),
  }),
);

const at = (alias: string) => `/v1/models/landmark/aliases/${alias}`;
const set = (alias: string, version: number, change: object = {}) =>
  call('submitter', 'PUT', at(alias), { body: { version, reason: `version ${version}`, ...change } });
const rollBack = (alias: string) => call('submitter', 'POST', `${at(alias)}/rollback`, { body: { reason: 'worse' } });
const versionOf = (answer: { json: { items: { alias: string; version: number }[] } }, alias: string) =>
  answer.json.items.find((item) => item.alias === alias)?.version;
const moves = async (alias: string) => (await call('viewer', 'GET', `${at(alias)}/moves`)).json.items;

test('an alias names a version, moves with a reason, and each rollback leads one version further back', async () => {
  for (const version of [1, 2, 2, 3]) expect(versionOf(await set('production', version), 'production')).toBe(version);
  expect(versionOf(await rollBack('production'), 'production')).toBe(2);
  expect(versionOf(await rollBack('production'), 'production')).toBe(1);
  expect(await rollBack('production')).toMatchObject({ status: 409, json: { code: 'wrong_state' } });
  expect(versionOf(await set('production', 3), 'production')).toBe(3);
  expect(versionOf(await rollBack('production'), 'production')).toBe(1);
  expect(await moves('production')).toMatchObject([
    { action: 'rollback', fromVersion: 3, toVersion: 1, reason: 'worse', movedBy: 'a-submitter' },
    { action: 'set', fromVersion: 1, toVersion: 3 },
    { action: 'rollback', fromVersion: 2, toVersion: 1 },
    { action: 'rollback', fromVersion: 3, toVersion: 2 },
    { action: 'set', fromVersion: 2, toVersion: 3 },
    // Setting it to the version that it names changes nothing.
    { action: 'set', fromVersion: 1, toVersion: 2 },
    { action: 'set', fromVersion: null, toVersion: 1 },
  ]);
  const [audit] = await prisma.auditEntry.findMany({ where: { target: 'landmark@production' }, orderBy: { id: 'desc' }, take: 1 });
  expect(audit).toMatchObject({ action: 'alias.rollback', before: { version: 3 }, after: { version: 1 }, details: { reason: 'worse' } });
  const { items } = (await call('viewer', 'GET', '/v1/models/landmark')).json;
  expect(items.map((model: { aliases: string[] }) => model.aliases)).toEqual([[], [], ['production']]);
});

test('an expected version protects against a change in between, also by a caller at the same time', async () => {
  expect(await set('candidate', 1, { ifVersion: 2 })).toMatchObject({
    status: 409,
    json: { detail: expect.stringContaining('but it does not exist') },
  });
  // Nobody can write for now: the first caller has read what the alias names, and the second must not.
  const { both } = await prisma.$transaction(
    async (tx) => {
      await tx.$executeRaw`lock table alias_move in exclusive mode`;
      const both = [1, 2].map((version) => set('candidate', version, { ifVersion: null }));
      const waiting = () =>
        prisma.$queryRaw`select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      await expect.poll(waiting, { timeout: 45_000 }).toEqual([{ n: 2 }]);
      // Not the promises themselves: a transaction would wait for them.
      return { both };
    },
    { timeout: 20_000 },
  );
  expect((await Promise.all(both)).map(({ status }) => status).sort()).toEqual([200, 409]);
  await set('candidate', 1);
  expect(await set('candidate', 2, { ifVersion: 3 })).toMatchObject({ status: 409 });
  expect(versionOf(await set('candidate', 2, { ifVersion: 1 }), 'candidate')).toBe(2);
});

test('a removed alias no longer names a version; its history stays and cannot be rewritten', async () => {
  await set('old', 2);
  await set('old', 1);
  await call('submitter', 'DELETE', at('old'), { query: { reason: 'unused' } });
  expect(versionOf((await call('viewer', 'GET', '/v1/models/landmark/aliases')) as never, 'old')).toBeUndefined();
  expect(await rollBack('old')).toMatchObject({ status: 404 });
  await set('old', 3);
  // What was before the removal is not a version to go back to.
  expect(await rollBack('old')).toMatchObject({ status: 409 });
  expect(await moves('old')).toHaveLength(4);
  await expect(prisma.aliasMove.updateMany({ data: { reason: 'another' } })).rejects.toThrow('rows are never changed or deleted');
  await expect(prisma.aliasMove.deleteMany({})).rejects.toThrow('rows are never changed or deleted');
});

test('what cannot be is refused with what to do', async () => {
  expect(await set('production', 4)).toMatchObject({ status: 404, json: { detail: 'Model landmark has no version 4; the newest is 3' } });
  expect(await set('7', 1)).toMatchObject({ status: 400 });
  expect(await set('production', 1, { reason: '' })).toMatchObject({ status: 400 });
  expect(await call('viewer', 'GET', '/v1/models/other/aliases')).toMatchObject({ status: 404, json: { code: 'not_found' } });
  const other = await call('submitter', 'PUT', '/v1/models/other/aliases/production', { body: { version: 1, reason: 'x' } });
  expect(other).toMatchObject({ status: 404, json: { detail: expect.stringContaining('Model other not found') } });
});

import { newId } from '@cairn/runtime';
import { beforeEach, describe, expect, test } from 'vitest';
import { listAudit } from './administration.ts';
import { getDataset, getWeights, listDatasets, listModels, listModelVersions, listWeights } from './catalogue.ts';
import type { Page } from './page-cursor.ts';
import { listEvents, listRuns } from './runs.ts';
import { createRows, openTestDatabase } from './testing/rows.ts';
import { loadFleet } from './waiting.ts';

const { prisma } = await openTestDatabase();
const rows = createRows(prisma);
const projectId = 'default';
beforeEach(() => rows.clear());

async function allPages<T>(read: (cursor: string | undefined) => Promise<Page<T>>): Promise<T[]> {
  const items: T[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await read(cursor);
    items.push(...page.items);
    if (page.nextCursor === null) return items;
    cursor = page.nextCursor;
  }
}

describe('pages', () => {
  test('runs created in the same millisecond are each listed once, newest first', async () => {
    const { id: datasetId } = await rows.addDataset();
    const ids: string[] = [];
    for (let n = 0; n < 7; n += 1) {
      const run = await rows.addRun({
        datasetId,
        createdAt: new Date(n < 4 ? 1_000 : 2_000),
        steps: [{ name: 'a', state: 'reused' }, { name: 'b' }],
      });
      ids.unshift(run.id);
    }
    const runs = await allPages((cursor) => listRuns(prisma, { projectId, limit: 2, cursor }));
    expect(runs.map((run) => run.id)).toEqual(ids);
    expect(runs[0]).toMatchObject({ steps: { total: 2, done: 1, reused: 1 }, dataset: expect.stringMatching(/^set-\d+@1$/) });
  });

  test('a page that holds all items has no next page', async () => {
    await rows.addRun();
    expect((await listRuns(prisma, { projectId, limit: 1 })).nextCursor).toBeNull();
  });

  test('runs are filtered by state, recipe and name, within the project', async () => {
    await rows.addRun({ state: 'failed', recipeName: 'mini', name: 'one' });
    await rows.addRun({ state: 'running', recipeName: 'mini', name: 'two' });
    const names = async (args: object) => (await listRuns(prisma, { projectId, limit: 10, ...args })).items.map((run) => run.name);
    expect(await names({ state: 'failed' })).toEqual(['one']);
    expect(await names({ recipe: 'mini' })).toEqual(['two', 'one']);
    expect(await names({ name: 'two', recipe: 'mini' })).toEqual(['two']);
    expect(await names({ projectId: 'other' })).toEqual([]);
  });

  test.each(['x', 'WzFd', ''])('an invalid cursor (%j) is rejected', async (cursor) => {
    await expect(listRuns(prisma, { projectId, limit: 1, cursor })).rejects.toMatchObject({ code: 'invalid_request' });
  });

  test('the audit log is listed newest first', async () => {
    for (let n = 1; n <= 5; n += 1)
      await prisma.auditEntry.create({ data: { projectId, actor: 'ada', action: 'run.submit', target: `run_${n}` } });
    const entries = await allPages((cursor) => listAudit(prisma, { projectId, limit: 2, cursor }));
    expect(entries.map((entry) => entry.target)).toEqual(['run_5', 'run_4', 'run_3', 'run_2', 'run_1']);
  });
});

test('datasets are listed in every version and found by name and version', async () => {
  await rows.addDataset({ name: 'glr', version: 1, createdAt: new Date(1_000) });
  await rows.addDataset({ name: 'glr', version: 2, createdAt: new Date(2_000) });
  expect((await allPages((cursor) => listDatasets(prisma, { projectId, limit: 1, cursor }))).map((one) => one.version)).toEqual([2, 1]);
  expect(await getDataset(prisma, { projectId, name: 'glr', version: null })).toMatchObject({ version: 2 });
  expect(await getDataset(prisma, { projectId, name: 'glr', version: 1 })).toMatchObject({ version: 1, source: { kind: 'folder' } });
  await expect(getDataset(prisma, { projectId, name: 'glr', version: 3 })).rejects.toThrow('it has 1, 2');
  await expect(getDataset(prisma, { projectId, name: 'gldv2', version: null })).rejects.toMatchObject({ code: 'not_found' });
});

test('weights are listed newest first and found by name', async () => {
  const { id: artifactId } = await rows.addArtifact({ kind: 'weights', state: 'ready' });
  const add = (name: string, createdAt: Date) =>
    prisma.weights.create({
      data: {
        id: newId('weights'),
        projectId,
        owner: 'ada',
        name,
        ...{ content: 'backbone', backbone: 'resnet50', extent: 'all', sha256: 'a'.repeat(64), bytes: 7, artifactId, createdAt },
      },
    });
  await add('old', new Date(1_000));
  await add('new', new Date(2_000));
  const listed = await allPages((cursor) => listWeights(prisma, { projectId, limit: 1, cursor }));
  expect(listed.map((one) => one.name)).toEqual(['new', 'old']);
  expect(await getWeights(prisma, { projectId, name: 'old' })).toMatchObject({ bytes: 7, licence: null, artifactId });
  await expect(getWeights(prisma, { projectId, name: 'none' })).rejects.toMatchObject({ code: 'not_found' });
});

test('models are listed by name in their newest version, and each in all versions', async () => {
  const add = (name: string, version: number) =>
    prisma.model.create({
      data: {
        id: newId('model'),
        projectId,
        owner: 'ada',
        name,
        version,
        runId: newId('run'),
        stepId: newId('step'),
        artifacts: { model: 'art_1' },
        metrics: { mapAt100: 0.7 },
      },
    });
  for (const [name, version] of [
    ['b', 1],
    ['a', 1],
    ['a', 2],
    ['c', 1],
  ] as const)
    await add(name, version);
  const models = await allPages((cursor) => listModels(prisma, { projectId, limit: 2, cursor }));
  expect(models.map((model) => `${model.name}@${model.version}`)).toEqual(['a@2', 'b@1', 'c@1']);
  const versions = await allPages((cursor) => listModelVersions(prisma, { projectId, name: 'a', limit: 1, cursor }));
  expect(versions.map((model) => model.version)).toEqual([2, 1]);
  await expect(listModelVersions(prisma, { projectId, name: 'd', limit: 1 })).rejects.toMatchObject({ code: 'not_found' });
});

test('events are listed after a sequence number', async () => {
  const run = await rows.addRun();
  for (const seq of [1, 2, 3]) await prisma.event.create({ data: { runId: run.id, seq, type: 'note', message: `event ${seq}` } });
  const args = { projectId, runId: run.id, limit: 2 };
  expect(await listEvents(prisma, { ...args, after: 0 })).toMatchObject({ items: [{ seq: 1 }, { seq: 2 }], nextSeq: 2 });
  expect(await listEvents(prisma, { ...args, after: 2 })).toMatchObject({ items: [{ seq: 3 }], nextSeq: 3 });
  expect(await listEvents(prisma, { ...args, after: 3 })).toEqual({ items: [], nextSeq: 3 });
  await expect(listEvents(prisma, { ...args, runId: newId('run'), after: 0 })).rejects.toMatchObject({ code: 'not_found' });
});

test('the fleet shows the leader, how busy the pools are and what waits for them', async () => {
  await rows.addPools([
    { name: 'big', slots: 8 },
    { name: 'small', slots: 1 },
    { name: 'tasks', slots: 2 },
  ]);
  expect((await loadFleet(prisma)).leader).toBeNull();
  const room = { fits: 1, leaving: 0, sentences: ['node a: 8 of 8 GPUs free'] };
  await prisma.pool.update({ where: { name: 'big' }, data: { room } });
  await rows.addLeader();
  const busy = await rows.addReadyStep({ state: 'active' });
  await rows.addAttempt(busy.step, { pool: 'big', slots: 8 });
  await rows.addReadyStep({ slots: 8 });
  await rows.addReadyStep({ slots: 1 });
  await rows.addReadyStep({ kind: 'prepare', name: 'prepare' });
  expect(await loadFleet(prisma)).toMatchObject({
    leader: { holder: 'controller-a', epoch: 3 },
    pools: [
      { name: 'big', executor: 'process', slots: 8, busy: 8, waiting: 2, room: { fits: 1, sentences: ['node a: 8 of 8 GPUs free'] } },
      { name: 'small', busy: 0, waiting: 1, room: null },
      { name: 'tasks', busy: 0, waiting: 1 },
    ],
  });
});

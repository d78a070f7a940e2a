import { type RunListItem, type RunSortKey, runSort } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import { beforeEach, describe, expect, test } from 'vitest';
import { listAudit } from './administration.ts';
import { getDataset, getWeights, listDatasets, listModels, listModelVersions, listWeights } from './catalogue.ts';
import { listEvents } from './list-events.ts';
import { listRuns, type RunListArgs } from './list-runs.ts';
import type { Page } from './page-cursor.ts';
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

  test('runs are filtered by what they are and searched by text, within the project', async () => {
    const { id: datasetId } = await rows.addDataset();
    await rows.addRun({ datasetId, state: 'failed', recipeName: 'mini', name: 'one', createdAt: new Date(1_000) });
    await rows.addRun({ datasetId, state: 'running', recipeName: 'mini', name: 'two', owner: 'bob', createdAt: new Date(2_000) });
    await rows.addRun({ datasetId, state: 'queued', recipeName: 'fast_100%', name: 'three', createdAt: new Date(3_000) });
    const names = async (args: Partial<RunListArgs>) => {
      const page = await listRuns(prisma, { projectId, limit: 10, ...args });
      expect(page.total).toBe(page.items.length);
      return page.items.map((run) => run.name);
    };
    expect(await names({ state: ['failed'] })).toEqual(['one']);
    expect(await names({ state: ['failed', 'queued'] })).toEqual(['three', 'one']);
    expect(await names({ recipe: ['mini'] })).toEqual(['two', 'one']);
    expect(await names({ recipe: ['mini'], owner: ['bob', 'eve'] })).toEqual(['two']);
    expect(await names({ name: 'two', recipe: ['mini'] })).toEqual(['two']);
    expect(await names({ createdAfter: '1970-01-01T00:00:01Z', createdBefore: '1970-01-01T00:00:03Z' })).toEqual(['two']);
    expect(await names({ q: 'TWO' })).toEqual(['two']);
    expect(await names({ q: 'bo' })).toEqual(['two']);
    expect(await names({ q: 't_100%' })).toEqual(['three']);
    expect(await names({ q: 'o%e' })).toEqual([]);
    expect(await names({ projectId: 'other' })).toEqual([]);
    await prisma.run.updateMany({ where: { name: { in: ['one', 'two'] } }, data: { labels: { team: 'search', tier: '' }, group: 'g' } });
    await prisma.run.updateMany({ where: { name: 'two' }, data: { labels: { team: 'search', 'example.com/tier': 'night' } } });
    expect(await names({ label: ['team=search'] })).toEqual(['two', 'one']);
    expect(await names({ label: ['team=search', 'example.com/tier=night'] })).toEqual(['two']);
    expect(await names({ label: ['team=search'], state: ['failed'], group: 'g' })).toEqual(['one']);
    expect(await names({ label: ['team=se'] })).toEqual([]);
  });

  test('runs are sorted by any column in both directions, page by page, those without a score last', async () => {
    const { id: datasetId } = await rows.addDataset();
    for (let n = 0; n < 9; n += 1)
      await rows.addRun({
        datasetId,
        ...{ name: `run ${n % 4}`, state: n % 2 === 0 ? 'failed' : 'succeeded', createdAt: new Date(n * 1_000) },
        ...{ updatedAt: new Date((n % 5) * 1_000), mapBest: n % 3 === 0 ? null : (n % 4) / 10, gpuSeconds: (n * 7) % 5 },
      });
    const values: Record<RunSortKey, (run: RunListItem) => string | number | null> = {
      createdAt: (run) => run.createdAt,
      updatedAt: (run) => run.updatedAt,
      name: (run) => run.name,
      state: (run) => run.state,
      mapAt100: (run) => run.mapAt100.best,
      gpuSeconds: (run) => run.gpuSeconds,
    };
    for (const sort of runSort.options) {
      const value = values[sort.replace('-', '') as RunSortKey];
      const runs = await allPages((cursor) => listRuns(prisma, { projectId, limit: 2, cursor, sort }));
      expect(new Set(runs.map(({ id }) => id)).size, sort).toBe(9);
      const found = runs.map(value);
      const known = found.filter((one) => one !== null);
      const sign = sort.startsWith('-') ? -1 : 1;
      expect(known, sort).toEqual(known.toSorted((a, b) => (a < b ? -sign : a > b ? sign : 0)));
      expect(found.slice(known.length).every((one) => one === null)).toBe(true);
    }
    const { nextCursor } = await listRuns(prisma, { projectId, limit: 2, sort: 'name' });
    const other = listRuns(prisma, { projectId, limit: 2, sort: '-name', cursor: nextCursor ?? '' });
    await expect(other).rejects.toMatchObject({ code: 'invalid_request' });
  });

  test('a list of 10,000 runs takes as many statements as one of few, and no sort reads more than a page', async () => {
    const { id: datasetId } = await rows.addDataset();
    await prisma.$executeRaw`
      insert into run (id, project_id, owner, name, recipe_name, recipe, dataset_id, state, no_reuse, request_digest, created_at, updated_at, map_best, gpu_seconds)
      select 'run_' || lpad(n::text, 26, '0'), ${projectId}, 'ada', 'run ' || n % 977, 'tiny', '{}', ${datasetId},
             case when n % 100 = 0 then 'running' else 'succeeded' end, 'false', '', now() - n * interval '1 minute',
             now() - n % 71 * interval '1 hour', case when n % 3 = 0 then null else n % 89 / 89.0 end, n % 611
        from generate_series(1, 10000) n`;
    await prisma.$executeRaw`
      insert into step (id, run_id, position, name, kind, settings, needs, pool, slots, max_attempts, state)
      select 'stp_' || lpad(n::text, 26, '0'), 'run_' || lpad((n / 5 + 1)::text, 26, '0'), n % 5, 's' || n % 5, 'train', '{}', '[]', 'gpu', 1, 1,
             case when (n / 5 + 1) % 100 = 0 then 'active' else 'succeeded' end from generate_series(0, 49999) n`;
    await prisma.$executeRaw`analyze run, step`;
    let statements = 0;
    const counted = prisma.$extends({
      query: {
        $allOperations: ({ args, query }) => {
          statements += 1;
          return query(args);
        },
      },
    }) as unknown as typeof prisma;
    for (const sort of runSort.options) {
      statements = 0;
      const page = await listRuns(counted, { projectId, limit: 100, sort });
      expect(page).toMatchObject({ total: 10_000, nextCursor: expect.any(String) });
      expect(page.items).toHaveLength(100);
      expect(statements, sort).toBe(3);
    }
    const [running] = (await listRuns(prisma, { projectId, limit: 1, state: ['running'] })).items;
    expect(running).toMatchObject({ share: 0, now: 's0 runs; and 4 more steps', steps: { total: 5, done: 0 } });
    for (const [column, where] of [
      ['created_at', 'true'],
      ['updated_at', 'true'],
      ['name', 'true'],
      ['state', 'true'],
      ['gpu_seconds', 'true'],
      ['map_best', 'map_best is not null'],
    ]) {
      const plan = await prisma.$queryRawUnsafe(
        `explain select id from run r where project_id = 'default' and ${where} order by ${column} desc, id desc limit 100`,
      );
      expect(JSON.stringify(plan), column).toMatch(/Index (Only )?Scan Backward/);
    }
    await prisma.$executeRaw`update run set labels = '{"team": "search"}' where id in (select id from run limit 20)`;
    await prisma.$executeRaw`analyze run`;
    const plan = await prisma.$queryRaw`explain select count(*) from run r where project_id = 'default' and labels @> '{"team": "search"}'`;
    expect(JSON.stringify(plan)).toContain('run_labels_idx');
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

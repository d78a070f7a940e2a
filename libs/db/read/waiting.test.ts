import { beforeEach, describe, expect, test } from 'vitest';
import { createRows, openTestDatabase } from './testing/rows.ts';
import { loadAdmission, loadWaiting } from './waiting.ts';

const { prisma } = await openTestDatabase();
const rows = createRows(prisma);
beforeEach(() => rows.clear());

describe('loadWaiting', () => {
  test('a ready step waits once it has reserved its own result', async () => {
    const { run, step } = await rows.addReadyStep(
      { name: '384', loaderBytes: 2n ** 33n, slots: 8, notBefore: new Date(5_000) },
      { priority: 7, owner: 'grace' },
    );
    const { waiting } = await loadWaiting(prisma);
    expect(waiting).toEqual([
      {
        stepId: step.id,
        runId: run.id,
        runName: run.name,
        name: '384',
        isFleet: false,
        owner: 'grace',
        priority: 7,
        readyAt: step.readyAt?.getTime(),
        notBefore: 5_000,
        pool: 'gpu',
        slots: 8,
        live: 0,
        loaderBytes: 2 ** 33,
        wanted: 1,
        openShards: null,
      },
    ]);
  });

  test.each([
    ['has not claimed a result yet', async () => void (await rows.addReadyStep({ artifactId: null }))],
    [
      'waits for the result of another run',
      async () => {
        const other = await rows.addReadyStep({ state: 'active' });
        await rows.addReadyStep({ artifactId: other.artifact.id });
      },
    ],
    [
      'waits for the result of another step of its own run',
      async () => {
        const { run, artifact } = await rows.addReadyStep({ state: 'active' });
        await rows.addStep(run.id, { name: '512', state: 'ready', artifactId: artifact.id });
      },
    ],
    ['belongs to a run that is being cancelled', async () => void (await rows.addReadyStep({}, { state: 'cancelling' }))],
    [
      'has an attempt',
      async () => {
        const { step } = await rows.addReadyStep();
        await rows.addAttempt(step, { state: 'created' });
      },
    ],
    [
      'is a running training stage',
      async () => {
        const { step } = await rows.addReadyStep({ state: 'active' });
        await rows.addAttempt(step);
      },
    ],
  ])('a step that %s is not waiting', async (_, make) => {
    await make();
    expect((await loadWaiting(prisma)).waiting).toEqual([]);
  });

  test('a running extraction waits for as many attempts as its open shards and its fleet size allow', async () => {
    const { step } = await rows.addReadyStep({ name: 'extract_index', kind: 'extract', state: 'active', maxAttempts: 4, shardsTotal: 5 });
    await rows.addAttempt(step);
    await prisma.shard.createMany({
      data: ['committed', 'committed', 'leased', 'pending', 'pending'].map((state, index) => ({
        stepId: step.id,
        index,
        fromRow: index,
        count: 1,
        state,
      })),
    });
    expect((await loadWaiting(prisma)).waiting).toMatchObject([{ name: 'extract_index', live: 1, wanted: 3 }]);
    await prisma.shard.updateMany({ where: { state: 'pending' }, data: { state: 'committed' } });
    expect((await loadWaiting(prisma)).waiting).toEqual([]);
  });

  test('every live attempt holds its slots, including those of a run that is being cancelled', async () => {
    const { run, step } = await rows.addReadyStep(
      { name: 'extract_index', kind: 'extract', state: 'active', shardsTotal: 5 },
      { state: 'cancelling', owner: 'grace' },
    );
    const attempt = await rows.addAttempt(step, { state: 'stopping', slots: 8, startedAt: new Date(9_000) });
    await rows.addAttempt(step, { state: 'lost' });
    expect((await loadWaiting(prisma)).running).toEqual([
      {
        attemptId: attempt.id,
        stepId: step.id,
        stepName: 'extract_index',
        runId: run.id,
        runName: run.name,
        label: `extract_index of ${run.name}`,
        pool: 'local',
        slots: 8,
        owner: 'grace',
        isFleet: true,
        stopping: true,
        startedAt: 9_000,
        leasedShards: 0,
      },
    ]);
  });

  test('an attempt of a fleet is as busy as the number of shards that it holds', async () => {
    const { step } = await rows.addReadyStep({ name: 'extract_index', kind: 'extract', state: 'active', maxAttempts: 2, shardsTotal: 4 });
    const [busy, idle] = [await rows.addAttempt(step), await rows.addAttempt(step)];
    const shards = [
      { state: 'leased', attemptId: busy.id },
      { state: 'leased', attemptId: busy.id },
      { state: 'committed', attemptId: idle.id },
      { state: 'pending', attemptId: null },
    ];
    await prisma.shard.createMany({ data: shards.map((shard, index) => ({ stepId: step.id, index, fromRow: index, count: 1, ...shard })) });
    const { running } = await loadWaiting(prisma);
    const leased = Object.fromEntries(running.map((attempt) => [attempt.attemptId, attempt.leasedShards]));
    expect(leased).toEqual({ [busy.id]: 2, [idle.id]: 0 });
  });

  test('a pool includes what the leader saw of its machines', async () => {
    const room = { fits: 1, leaving: 0, sentences: ['node a: 8 of 8 GPUs free'] };
    await rows.addPools([{ name: 'gpus', slots: 16 }]);
    await prisma.pool.update({ where: { name: 'gpus' }, data: { attemptSlots: 8, room } });
    expect((await loadWaiting(prisma)).pools).toEqual([{ name: 'gpus', slots: 16, attemptSlots: 8, room }]);
  });

  test('pools are listed in order of preference', async () => {
    await rows.addPools([
      { name: 'zeta', slots: 8 },
      { name: 'tasks', slots: 2 },
      { name: 'alpha', slots: 4 },
    ]);
    expect((await loadWaiting(prisma)).pools.map((pool) => pool.name)).toEqual(['zeta', 'tasks', 'alpha']);
  });
});

test('each of 5,000 waiting steps gets slots or a reason', async () => {
  await rows.addPools();
  const { id: datasetId } = await rows.addDataset();
  await prisma.$executeRaw`
    insert into run (id, project_id, owner, name, recipe_name, recipe, dataset_id, state, no_reuse, request_digest)
    select 'run_' || n, 'default', 'owner' || n % 5, 'run-' || n, 'tiny', '{}', ${datasetId}, 'queued', 'false', '' from generate_series(1, 5000) n`;
  await prisma.$executeRaw`
    insert into artifact (id, project_id, kind, state, prefix, run_id, step_name)
    select 'art_' || n, 'default', 'lists', 'building', '', 'run_' || n, 'prepare' from generate_series(1, 5000) n`;
  await prisma.$executeRaw`
    insert into step (id, run_id, position, name, kind, settings, needs, pool, slots, max_attempts, state, artifact_id, ready_at)
    select 'stp_' || n, 'run_' || n, 0, 'prepare', 'prepare', '{}', '[]', 'tasks', 1, 1, 'ready', 'art_' || n, now() from generate_series(1, 5000) n`;
  await prisma.$executeRaw`analyze run, artifact, step`;
  // How long it takes is measured by `npm run bench -- control --backlog`.
  const { waiting, reasons } = await loadAdmission(prisma);
  expect(waiting.waiting).toHaveLength(5000);
  // Two get slots, the others a reason.
  expect(reasons.size).toBe(4998);
});

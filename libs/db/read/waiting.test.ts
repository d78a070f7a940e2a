import { beforeEach, describe, expect, test } from 'vitest';
import { createRows, openTestDatabase } from './testing/rows.ts';
import { type AdmissionView, loadAdmission, loadWaiting, needsAdmission, type StepSituation, waitingReasonOf } from './waiting.ts';

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
    const room = { fits: 1, leaving: 0, sentences: ['node a: 8 of 8 GPUs free'], nodes: [] };
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

const time = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second));
const idle = { starting: 0, startingSince: null, startingPool: null, finding: null, working: 0, succeeded: 0, lastEndedAt: null };
const ready: StepSituation = {
  stepId: 'stp_1',
  state: 'ready',
  runState: 'running',
  held: null,
  createdAt: time(1),
  readyAt: time(2),
  needs: [],
  builder: null,
  attempts: idle,
  isComplete: false,
};
const admission = (reasons: AdmissionView['reasons'] = new Map(), isAlive = true): AdmissionView => ({
  waiting: { waiting: [], running: [], pools: [] },
  reasons,
  leader: { holder: 'controller-a', epoch: 1, expiresAt: time(5), isAlive },
  takenAt: 0,
});
const since = (second: number) => time(second).toISOString();

test('a blocked step names the steps that it waits for and their states', () => {
  const needs = [
    { name: 'prepare', state: 'succeeded' },
    { name: '384', state: 'active' },
    { name: 'export', state: 'ready' },
  ] as const;
  expect(waitingReasonOf({ ...ready, state: 'blocked', readyAt: null, needs }, null)).toEqual({
    code: 'dependencies',
    sentence: 'waiting for 384 (running) and export',
    since: since(1),
  });
});

test('a ready step has the reason that admission gives', () => {
  const reasons: AdmissionView['reasons'] = new Map([['stp_1', { code: 'behind', sentence: 'waiting behind 512 of big' }]]);
  expect(waitingReasonOf(ready, admission(reasons))).toEqual({
    code: 'behind',
    sentence: 'waiting behind 512 of big (since 2026-01-01 00:00 UTC)',
    since: since(2),
  });
});

test('a ready step that fits is started next', () => {
  expect(waitingReasonOf(ready, admission())).toMatchObject({ code: 'launching', since: since(2) });
});

test('a reason that passes by itself in a moment has no start time', () => {
  const sentence = 'the controller has not reported its pools yet';
  const reasons: AdmissionView['reasons'] = new Map([['stp_1', { code: 'launching', sentence }]]);
  expect(waitingReasonOf(ready, admission(reasons))).toEqual({ code: 'launching', sentence, since: since(2) });
});

test('without a running controller nothing is started, even if slots are free', () => {
  expect(waitingReasonOf(ready, admission(new Map(), false))).toEqual({
    code: 'no-leader',
    sentence: 'no controller is running, so nothing is started; the last one was controller-a',
    since: since(5),
  });
});

test('before the first controller has reported, that is the reason', () => {
  const none = { holder: '', epoch: 0, expiresAt: new Date(0), isAlive: false };
  expect(waitingReasonOf(ready, { ...admission(), leader: none })).toEqual({
    code: 'no-leader',
    sentence: 'no controller has reported yet, so nothing is started',
    since: since(2),
  });
});

test('a step whose result another run is building names the run and the step', () => {
  const builder = { runId: 'run_2', runName: 'mini-2', stepName: '384' };
  expect(waitingReasonOf({ ...ready, builder }, null)).toMatchObject({
    code: 'same-result-building',
    sentence: '384 of run mini-2 (run_2) is building the same result',
  });
});

test('a step whose attempt is starting is launching since the attempt was created', () => {
  const attempts = { ...idle, starting: 1, startingSince: time(4), startingPool: 'local' };
  expect(waitingReasonOf({ ...ready, state: 'active', attempts }, null)).toEqual({
    code: 'launching',
    sentence: 'an attempt is being started on pool local',
    since: since(4),
  });
});

test('a step whose pod waits says why, in the words of the failure table, and since when', () => {
  const finding = { code: 'unschedulable', message: 'no node can hold its pod now: 0/2 nodes are available', since: since(6) };
  const attempts = { ...idle, starting: 1, startingSince: time(4), startingPool: 'gpus', finding };
  expect(waitingReasonOf({ ...ready, state: 'active', attempts }, null)).toEqual({
    code: 'pending',
    sentence: 'no node can hold its pod now: 0/2 nodes are available (since 2026-01-01 00:00 UTC)',
    since: since(6),
  });
  expect(waitingReasonOf({ ...ready, state: 'active', attempts: { ...attempts, starting: 0, working: 1 } }, null)).toBeNull();
});

test('a complete step is being finalized, even while attempts of its fleet are still ending', () => {
  const attempts = { ...idle, working: 1, lastEndedAt: time(9) };
  expect(waitingReasonOf({ ...ready, state: 'active', attempts, isComplete: true }, null)).toMatchObject({
    code: 'finalizing',
    since: since(9),
  });
});

test.each<[string, Partial<StepSituation>]>([
  ['is running', { state: 'active', attempts: { ...idle, working: 1 } }],
  ['succeeded', { state: 'succeeded' }],
  ['was reused', { state: 'reused' }],
  ['failed', { state: 'failed' }],
  ['belongs to a run that is being cancelled', { runState: 'cancelling', state: 'blocked' }],
])('a step that %s does not wait', (_, over) => {
  expect(waitingReasonOf({ ...ready, ...over }, admission())).toBeNull();
});

test('only a step that may wait for slots needs the admission view', () => {
  expect(needsAdmission(ready)).toBe(true);
  expect(needsAdmission({ ...ready, state: 'active' })).toBe(true);
  expect(needsAdmission({ ...ready, state: 'blocked' })).toBe(false);
  expect(needsAdmission({ ...ready, attempts: { ...idle, starting: 1 } })).toBe(false);
  expect(needsAdmission({ ...ready, state: 'active', attempts: { ...idle, working: 1 } })).toBe(false);
  expect(needsAdmission({ ...ready, builder: { runId: '', runName: '', stepName: '' } })).toBe(false);
  expect(needsAdmission({ ...ready, runState: 'cancelling' })).toBe(false);
});

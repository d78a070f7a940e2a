import { expect, test } from 'vitest';
import { getRun } from './get-run.ts';
import { getStep } from './steps.ts';
import { createRows, openTestDatabase } from './testing/rows.ts';

const { prisma } = await openTestDatabase();
const rows = createRows(prisma);
await rows.addPools([
  { name: 'local', slots: 2 },
  { name: 'tasks', slots: 2 },
]);
await rows.addLeader();

test('a run shows every step with its artifact, its shards, its scores and why it waits', async () => {
  const source = await rows.addRun({ state: 'succeeded', name: 'earlier' });
  const lists = await rows.addArtifact({ kind: 'lists', state: 'ready', stepName: 'prepare', runId: source.id });
  const stage = await rows.addArtifact({
    state: 'ready',
    runId: source.id,
    digest: 'a'.repeat(64),
    details: { step: 120, epoch: 2, classes: 48, mapAt100Start: 0.217, mapAt100End: 0.683 },
  });
  const run = await rows.addRun({
    steps: [
      { name: 'prepare', kind: 'prepare', state: 'reused', artifactId: lists.id, reusedFromRunId: source.id },
      { name: '384', state: 'reused', needs: ['prepare'], artifactId: stage.id, reusedFromRunId: source.id },
      { name: 'extract_index', kind: 'extract', state: 'active', shardsTotal: 3, shardsCommitted: 1, rows: 10, rejected: 1 },
      { name: '512', state: 'ready', slots: 8, readyAt: new Date(1_000), scores: { 'mapAt100.start': 0.5 } },
      { name: 'export', kind: 'export', needs: ['512', 'extract_index'] },
    ],
  });
  const steps = await prisma.step.findMany({ where: { runId: run.id }, orderBy: { position: 'asc' } });
  const byName = (name: string) => steps.find((step) => step.name === name) ?? expect.fail(name);
  const build = async (name: string) => {
    const artifact = await rows.addArtifact({ runId: run.id, stepName: name });
    await prisma.step.update({ where: { id: byName(name).id }, data: { artifactId: artifact.id } });
  };
  await build('512');
  await build('extract_index');
  await rows.addAttempt(byName('extract_index'));
  await prisma.shard.createMany({
    data: ['committed', 'leased', 'pending'].map((state, index) => ({
      stepId: byName('extract_index').id,
      index,
      fromRow: 0,
      count: 1,
      state,
    })),
  });

  const view = await getRun(prisma, { projectId: 'default', runId: run.id });
  expect(view).toMatchObject({ id: run.id, recipe: 'tiny', state: 'running', noReuse: false, steps: { total: 5, done: 2, reused: 2 } });
  const [prepare, first, extract, second, exporting] = view.stepViews;
  expect(prepare).toMatchObject({ name: 'prepare', reusedFrom: { runId: source.id, runName: 'earlier' }, waiting: null });
  expect(first).toMatchObject({
    needs: ['prepare'],
    artifact: { id: stage.id, kind: 'checkpoint', digest: 'a'.repeat(64) },
    scores: { 'mapAt100.start': 0.217, 'mapAt100.end': 0.683 },
  });
  expect(extract).toMatchObject({
    shards: { total: 3, committed: 1, leased: 1, rows: 10, rejected: 1 },
    attempts: 1,
    waiting: null,
    artifact: null,
  });
  expect(second).toMatchObject({
    scores: { 'mapAt100.start': 0.5 },
    waiting: {
      code: 'capacity',
      sentence: 'needs 8 slots at once, but the largest pool gives an attempt only 2 (since 1970-01-01 00:00 UTC)',
      since: new Date(1_000).toISOString(),
    },
  });
  expect(exporting?.waiting?.sentence).toBe('waiting for 512 and extract_index (running)');
  expect(await getStep(prisma, { projectId: 'default', runId: run.id, name: '512' })).toEqual(second);
});

test('the scores of an evaluation come from its artifact', async () => {
  const run = await rows.addRun();
  const details = { mapAt100: { kaggle: { public: 0.7, private: 0.74, all: 0.73 }, reference: 0.75 }, queries: { public: 12 } };
  const artifact = await rows.addArtifact({ kind: 'evaluation', state: 'ready', stepName: 'evaluate', runId: run.id, details });
  await rows.addStep(run.id, { name: 'evaluate', kind: 'evaluate', state: 'succeeded', artifactId: artifact.id });
  const { scores } = await getStep(prisma, { projectId: 'default', runId: run.id, name: 'evaluate' });
  expect(scores).toEqual({ mapAt100: 0.73, 'mapAt100.public': 0.7, 'mapAt100.private': 0.74, 'mapAt100.reference': 0.75 });
});

test('the score that a run is sorted by is that of its steps, whatever their results and reports say', async () => {
  const run = await rows.addRun();
  const expected = async () => {
    const { stepViews, mapAt100 } = await getRun(prisma, { projectId: 'default', runId: run.id });
    const scores = stepViews.flatMap(({ scores: of }) => of.mapAt100 ?? of['mapAt100.end'] ?? of['mapAt100.epoch'] ?? []);
    expect(mapAt100).toEqual({ best: scores.length === 0 ? null : Math.max(...scores), last: scores.at(-1) ?? null });
    return scores.length;
  };
  const artifact = (kind: 'checkpoint' | 'evaluation', details: object, state = 'ready') =>
    rows.addArtifact({ kind, state, runId: run.id, details: { ...details } });
  const results = [
    { scores: { 'mapAt100.start': 0.9 } },
    { scores: { 'mapAt100.epoch': 0.3, 'mapAt100.start': 0.1 } },
    { scores: { 'mapAt100.epoch': 0.3, 'mapAt100.end': 0.4 } },
    { scores: { 'mapAt100.end': 0.4 }, artifactId: (await artifact('checkpoint', { mapAt100End: 0.8 })).id },
    { scores: { 'mapAt100.end': 0.2 }, artifactId: (await artifact('checkpoint', { mapAt100End: null })).id },
    {
      scores: {},
      artifactId: (await artifact('evaluation', { mapAt100: { kaggle: { public: 0.1, private: 0.2, all: 0.7 }, reference: 0.95 } })).id,
    },
    { scores: {}, artifactId: (await artifact('evaluation', { mapAt100: { reference: 0.95 } })).id },
    { scores: { 'mapAt100.end': 0.1 }, artifactId: (await artifact('checkpoint', { mapAt100End: 0.99 }, 'building')).id },
  ];
  let scored = 0;
  for (const [position, result] of results.entries()) {
    const step = await rows.addStep(run.id, { name: `step ${position}`, position, state: 'active' });
    await prisma.step.update({ where: { id: step.id }, data: { ...result, state: 'succeeded' } });
    scored = await expected();
  }
  expect(scored).toBe(6);
  await prisma.step.updateMany({ where: { runId: run.id }, data: { state: 'blocked', scores: {}, artifactId: null } });
  expect(await expected()).toBe(0);
});

test('a step whose result another run is building names that run', async () => {
  const builder = await rows.addReadyStep({ name: '384', state: 'active' }, { name: 'faster' });
  const { run } = await rows.addReadyStep({ name: '384', artifactId: builder.artifact.id });
  const { waiting } = await getStep(prisma, { projectId: 'default', runId: run.id, name: '384' });
  expect(waiting).toMatchObject({
    code: 'same-result-building',
    sentence: `384 of run faster (${builder.run.id}) is building the same result`,
  });
});

test('a step whose attempts are all silent shows no rate, which may be out of date', async () => {
  const { run, step } = await rows.addReadyStep({ state: 'active' });
  const progress = { done: 168, total: 300, unit: 'steps', rate: 40.6, etaSeconds: 52, message: '40.6 images/s' };
  await prisma.step.update({ where: { id: step.id }, data: { progress } });
  const silent = await rows.addAttempt(step, { contact: 'silent' });
  const shown = async () => (await getStep(prisma, { projectId: 'default', runId: run.id, name: step.name })).progress;
  expect(await shown()).toEqual({ ...progress, rate: null, etaSeconds: null, message: '' });
  await prisma.attempt.update({ where: { id: silent.id }, data: { contact: 'ok' } });
  expect(await shown()).toEqual(progress);
});

test('attempts of an earlier generation neither start nor finish the step', async () => {
  const { run, step } = await rows.addReadyStep({ state: 'active', generation: 2 });
  await rows.addAttempt(step, { state: 'succeeded', stepGeneration: 1 });
  await rows.addAttempt(step, { state: 'launching', stepGeneration: 2 });
  const view = await getStep(prisma, { projectId: 'default', runId: run.id, name: step.name });
  expect(view).toMatchObject({ attempts: 2, waiting: { code: 'launching' } });
});

test('an error for a missing step names the existing ones', async () => {
  const run = await rows.addRun({ steps: [{ name: 'prepare' }, { name: '384' }] });
  await expect(getRun(prisma, { projectId: 'other', runId: run.id })).rejects.toMatchObject({ code: 'not_found' });
  await expect(getStep(prisma, { projectId: 'default', runId: run.id, name: '386' })).rejects.toThrow('its steps are prepare, 384');
});

import type { Recipe } from '@cairn/contract';
import { newId } from '@cairn/runtime';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ada, type Harness, openEngineHarness, request, smallRecipe } from './testing/engine-harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await openEngineHarness();
  // What all runs share already exists; each test makes its own steps distinct through their settings.
  await harness.playAll(await harness.submit());
});
afterAll(() => harness.close());

/** Names of stages, each with the one that it starts from. */
const chain = (length: number): [string, string][] =>
  Array.from({ length }, (_, index) => [`more${index}`, index === 0 ? 'first' : `more${index - 1}`]);

const states = async (runId: string) =>
  Object.fromEntries(
    (await harness.prisma.step.findMany({ where: { runId }, orderBy: { position: 'asc' } })).map((row) => [row.name, row.state]),
  );

describe('a submission', () => {
  it('creates a run whose first step is ready at once', async () => {
    const runId = await harness.submit({ noReuse: true });
    expect(await harness.ready(runId)).toEqual(['prepare']);
    expect((await harness.run(runId)).state).toBe('queued');
  });

  it('returns the same run for the same key, and rejects the key for another request', async () => {
    const first = await harness.engine.submitRun(request({ priority: 1 }), ada, 'key-1');
    expect(await harness.engine.submitRun(request({ priority: 1 }), ada, 'key-1')).toEqual({ runId: first.runId, created: false });
    await expect(harness.engine.submitRun(request({ priority: 2 }), ada, 'key-1')).rejects.toMatchObject({ code: 'idempotency_conflict' });
  });

  it('creates one run when the same key is sent many times in parallel', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => harness.engine.submitRun(request(), ada, 'key-2')));
    expect(new Set(answers.map((answer) => answer.runId)).size).toBe(1);
    expect(answers.filter((answer) => answer.created)).toHaveLength(1);
  });

  it('overrides a setting of a stage whose name contains a dot, in quotes', async () => {
    const { first, second } = smallRecipe.stages;
    if (!first || !second) throw new Error('the small recipe has two stages');
    const recipe = { ...smallRecipe, stages: { 'v1.5': first, second: { ...second, from: 'v1.5' } } };
    const plan = await harness.engine.planRun(request({ recipe, set: { 'stages."v1.5".batch': 2 } }), ada);
    expect(plan.recipe.stages['v1.5']).toMatchObject({ batch: 2, effectiveBatch: first.batch });
    await expect(harness.submit({ recipe, set: { 'stages.v1.5.batch': 2 } })).rejects.toMatchObject({
      code: 'unknown_setting',
      details: { nearest: 'stages."v1.5"' },
    });
  });

  it('sets an optional setting that the recipe leaves out, but adds no stage', async () => {
    const { recipe } = await harness.engine.planRun(request({ set: { 'export.scales': [0.7, 1, 1.5] } }), ada);
    expect(recipe.export).toEqual({ ...smallRecipe.export, scales: [0.7, 1, 1.5] });
    await expect(harness.submit({ set: { 'export.scales': [9] } })).rejects.toMatchObject({ code: 'invalid_setting' });
    await expect(harness.submit({ set: { 'stages.third': smallRecipe.stages.first } })).rejects.toMatchObject({ code: 'unknown_setting' });
  });

  it('suggests the nearest setting, and stores nothing', async () => {
    const before = await harness.prisma.run.count();
    await expect(harness.submit({ set: { 'stages.first.epoch': 2 } })).rejects.toMatchObject({
      code: 'unknown_setting',
      details: { nearest: 'stages.first.epochs' },
    });
    await expect(harness.submit({ set: { 'stages.constructor.epochs': 2 } })).rejects.toMatchObject({ code: 'unknown_setting' });
    await expect(harness.submit({ set: { toString: 2 } })).rejects.toMatchObject({ code: 'unknown_setting' });
    await expect(harness.submit({ set: { 'export.stage': 'constructor' } })).rejects.toMatchObject({ code: 'invalid_setting' });
    await expect(harness.submit({ set: { 'stages.first.epochs': 'many' } })).rejects.toMatchObject({ code: 'invalid_setting' });
    await expect(harness.submit({ set: { 'extract.index.list': 'indexx' } })).rejects.toMatchObject({
      code: 'invalid_setting',
      message: expect.stringMatching(/^extract\.index\.list: .*; did you mean "index"\?$/),
    });
    await expect(harness.submit({ set: { 'extract.index.list': 'index_expand' } })).rejects.toMatchObject({
      code: 'invalid_setting',
      details: { remedy: `Let it be made too: --set 'prepare.lists=["clean","c2x","full","all","query","index","index_expand"]'.` },
    });
    await expect(harness.submit({ dataset: 'none' })).rejects.toThrow('dataset none not found; the datasets are toy');
    await expect(harness.submit({ dataset: 'toy@7' })).rejects.toThrow('dataset toy has no version 7; its newest is toy@1');
    await expect(harness.submit({ noReuse: ['exprot'] })).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('did you mean "export"?'),
    });
    expect(await harness.prisma.run.count()).toBe(before);
  });

  it('rejects weights that are not imported, while a plan shows what would run', async () => {
    const wanted = { set: { 'stages.first.weights': 'resnet50-19c8e357' } };
    await expect(harness.submit(wanted)).rejects.toMatchObject({
      code: 'not_found',
      message: 'stages.first.weights names the weights resnet50-19c8e357, which are not imported',
      details: { remedy: expect.stringContaining('`cairn import weights resnet50-19c8e357.pth --backbone resnet18`') },
    });
    const { steps } = await harness.engine.planRun(request(wanted), ada);
    expect(steps.find((step) => step.name === 'first')?.settings).toMatchObject({ weights: 'resnet50-19c8e357' });
    expect(steps.find((step) => step.name === 'first')?.given).toEqual([{ role: 'weights', name: 'resnet50-19c8e357', sha256: null }]);
  });
});

describe('a plan', () => {
  /** A recipe without an earlier run. */
  const fresh = { ...smallRecipe, name: 'fresh' };
  const planned = async (set: Record<string, unknown> = {}) => {
    const { steps, estimate } = await harness.engine.planRun(request({ recipe: fresh, set, noReuse: true }), ada);
    return { estimate, of: (name: string) => steps.find((step) => step.name === name) };
  };

  it('estimates from the existing lists, and from the duration of the same step once it has run', async () => {
    const set = { 'stages.first.epochs': 20 };
    const runId = await harness.submit({ recipe: fresh, set, noReuse: true });
    await harness.play(runId, 'prepare');
    const estimated = (await planned(set)).of('first')?.estimate;
    expect(estimated?.basis).toMatch(/^20 epochs x 8 images x 0\.3\d+ GFLOP \(resnet18, 32 px/);
    await harness.playAll(runId);
    await harness.prisma.step.update({
      where: { runId_name: { runId, name: 'first' } },
      data: { startedAt: new Date('2026-01-01T00:00:00Z'), finishedAt: new Date('2026-01-01T02:00:00Z') },
    });
    const twice = await planned({ 'stages.first.epochs': 40 });
    expect(twice.of('first')?.estimate).toMatchObject({ gpuHours: 4, gpuMemoryGib: estimated?.gpuMemoryGib });
    expect(twice.of('first')?.estimate?.basis).toContain(`slots times its duration in run ${runId}, times 2 for its epochs`);
    expect(twice.of('search')).toMatchObject({ estimate: null, split: null });
    expect(twice.estimate.gpuHours).toBeGreaterThanOrEqual(4);
  });

  it('estimates for gldv2 with the published lengths until its lists exist, and says so', async () => {
    const { files: _, ...toy } = await harness.prisma.dataset.findFirstOrThrow({ where: { name: 'toy' } });
    const gldv2 = { ...toy, id: newId('dataset'), name: 'gldv2', digest: 'f'.repeat(64), source: toy.source ?? {} };
    await harness.prisma.dataset.create({ data: gldv2 });
    const { steps } = await harness.engine.planRun(request({ recipe: fresh, dataset: 'gldv2' }), ada);
    expect(steps.find(({ name }) => name === 'first')?.estimate?.basis).toMatch(
      /^1 epochs x 1,580,468 images x .*; the length of clean is taken from table 1 of arXiv 2110\.04294, until prepare has run on this dataset$/,
    );
  });

  it("keeps the recipe's images per optimizer step with other ranks or batches, unless overridden", async () => {
    expect((await planned({ 'stages.first.batch': 2 })).of('first')).toMatchObject({
      settings: { batch: 2, effectiveBatch: 4 },
      split: expect.stringContaining('4 images per step (1 ranks x 2 x 2 batches accumulated)'),
    });
    const otherwise = await planned({ 'stages.first.ranks': 2, 'stages.first.effectiveBatch': null });
    expect(otherwise.of('first')?.split).toContain('8 images per step (2 ranks x 4)');
    await expect(planned({ 'stages.first.ranks': 2 })).rejects.toMatchObject({
      code: 'invalid_setting',
      message: expect.stringContaining('stages.first.effectiveBatch is 4; it must be a multiple of batch x ranks, 4 x 2 = 8, or null'),
    });
  });
});

describe('a run', () => {
  it('whose submission is the victim of a deadlock is submitted again from the beginning', async () => {
    await harness.prisma.$executeRaw`create sequence deadlocks`;
    await harness.prisma.$executeRaw`create function deadlock_once() returns trigger language plpgsql as $$ begin
      if nextval('deadlocks') = 1 then raise exception 'deadlock detected' using errcode = 'deadlock_detected'; end if; return new; end $$`;
    await harness.prisma.$executeRaw`create trigger deadlock_once before insert on event for each row execute function deadlock_once()`;
    const runId = await harness
      .submit({ set: { 'stages.first.epochs': 4 } })
      .finally(() => harness.prisma.$executeRaw`drop trigger deadlock_once on event`);
    const [{ tries } = { tries: 0n }] = await harness.prisma.$queryRaw<{ tries: bigint }[]>`select last_value as tries from deadlocks`;
    expect(tries).toBeGreaterThan(1n);
    await harness.playAll(runId);
    expect((await harness.run(runId)).state).toBe('succeeded');
  });

  it('runs its graph up to a registered model, with a history without gaps', async () => {
    const runId = await harness.submit({ set: { 'stages.first.epochs': 5 } });
    await harness.playAll(runId);
    expect((await harness.run(runId)).state).toBe('succeeded');
    const [model] = await harness.prisma.model.findMany({ where: { runId } });
    expect(model).toMatchObject({ name: 'toy', metrics: { mapAt100: 0.5 } });
    const events = await harness.prisma.event.findMany({ where: { runId }, orderBy: { seq: 'asc' } });
    expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1));
    expect((await harness.run(runId)).seq).toBe(events.length);
  });

  it('reuses the results of an equal run, and registers its own version', async () => {
    const first = await harness.submit({ set: { 'stages.first.epochs': 6 } });
    await harness.playAll(first);
    const second = await harness.submit({ set: { 'stages.first.epochs': 6, 'stages.first.loaderWorkers': 4 } });
    expect(await harness.ready(second)).toEqual(['register']);
    await harness.playAll(second);
    const { register, ...others } = await states(second);
    expect(register).toBe('succeeded');
    expect(new Set(Object.values(others))).toEqual(new Set(['reused']));
    expect((await harness.step(second, 'export')).reusedFromRunId).toBe(first);
  });

  it('reruns only what depends on a changed setting', async () => {
    const first = await harness.submit({ set: { 'stages.first.epochs': 7 } });
    await harness.playAll(first);
    const plan = await harness.engine.planRun(request({ set: { 'stages.first.epochs': 7, 'stages.second.epochs': 2 } }), ada);
    expect(plan.steps.map((step) => `${step.name} ${step.action}`)).toEqual([
      'prepare reuse',
      'first reuse',
      'second run',
      'export run',
      'extract_index run',
      'extract_query run',
      'search run',
      'evaluate run',
      'register run',
    ]);
    const { name } = await harness.run(first);
    const whyOf = (wanted: string) => plan.steps.find((step) => step.name === wanted)?.why;
    expect(whyOf('first')).toBe(`made by the run ${name}`);
    expect(whyOf('second')).toMatch(/^setting epochs: 2, was 1.* \(compared with the run \S+\)$/);
    const second = await harness.submit({ set: { 'stages.first.epochs': 7, 'stages.second.epochs': 2 } });
    expect(await states(second)).toMatchObject({ prepare: 'reused', first: 'reused', second: 'ready', export: 'blocked' });
  });

  it('reruns nothing when a list is added', async () => {
    const set = { 'stages.first.epochs': 12 };
    await harness.playAll(await harness.submit({ set }));
    const more = { set: { ...set, 'prepare.lists': ['clean', 'index', 'query', 'test'] } };
    const plan = await harness.engine.planRun(request(more), ada);
    const actions = Object.fromEntries(plan.steps.map((step) => [step.name, step.action]));
    expect(actions).toMatchObject({ prepare: 'run', first: 'reuse', extract_index: 'reuse', evaluate: 'reuse', register: 'run' });
    expect(plan.steps[0]?.why).toContain('setting lists:');
    const second = await harness.submit(more);
    await harness.play(second, 'prepare');
    expect(await harness.ready(second)).toEqual(['register']);
  });

  it('reuses later steps when a rerun step gives the same result', async () => {
    const first = await harness.submit({ set: { 'stages.first.epochs': 8 } });
    await harness.playAll(first);
    const second = await harness.submit({ set: { 'stages.first.epochs': 8 }, noReuse: ['prepare'] });
    await harness.play(second, 'prepare');
    expect(await states(second)).toMatchObject({ prepare: 'succeeded', first: 'reused', evaluate: 'reused', register: 'ready' });
  });

  it('replaces the old result with one built without reuse', async () => {
    const set = { 'stages.first.epochs': 9 };
    await harness.playAll(await harness.submit({ set }));
    const again = await harness.submit({ set, noReuse: ['first'] });
    await harness.play(again, 'first', ' anew');
    const third = await harness.submit({ set });
    expect((await harness.step(third, 'first')).artifactId).toBe((await harness.step(again, 'first')).artifactId);
  });

  it('waits for a result that another run is building, and reuses it', async () => {
    const set = { 'stages.first.epochs': 10 };
    const first = await harness.submit({ set });
    const second = await harness.submit({ set });
    await harness.play(first, 'first');
    expect(await states(second)).toMatchObject({ first: 'reused', second: 'ready' });
    expect(await harness.startAttempts(second, 'second')).toEqual([]);
    await harness.play(first, 'second');
    expect(await states(second)).toMatchObject({ second: 'reused' });
  });

  it('builds the result itself when the run that was building it fails', async () => {
    const set = { 'stages.first.epochs': 11 };
    const first = await harness.submit({ set });
    const second = await harness.submit({ set });
    const [attempt = ''] = await harness.startAttempts(first, 'first');
    await harness.engine.finishAttempt(attempt, 1, {
      outcome: 'failed',
      cause: 'user',
      code: 'training_diverged',
      message: 'the loss is NaN',
    });
    expect((await harness.run(first)).state).toBe('failed');
    expect(await harness.startAttempts(second, 'first')).toHaveLength(1);
  });
});

describe('cancelling', () => {
  it('stops running attempts, keeps finished results, and ends the run', async () => {
    const runId = await harness.submit({ set: { 'stages.first.epochs': 16 } });
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    await harness.engine.cancelRun(runId, ada, 'wrong data');
    const reply = await harness.engine.report(attempt, 1, { seq: 1, at: new Date().toISOString(), items: [] });
    expect(reply).toMatchObject({ directive: 'stop', cause: 'cancelled', reason: 'cancelled by the run' });
    // An agent that does not know the cause uses this.
    expect(reply.reason).toMatch(/^cancel/i);
    await harness.engine.finishAttempt(attempt, 1, { outcome: 'cancelled', message: 'stopped' });
    expect((await harness.run(runId)).state).toBe('cancelled');
    expect(await states(runId)).toMatchObject({ prepare: 'reused', first: 'cancelled', register: 'cancelled' });
    await harness.engine.cancelRun(runId, ada, 'again');
  });

  it('needs no more statements for many steps than for few', async () => {
    const { first, second } = smallRecipe.stages;
    const long = {
      ...smallRecipe,
      stages: { first, ...Object.fromEntries(chain(20).map(([name, from]) => [name, { ...second, from }])), second },
    };
    const statements = vi.spyOn(pg.Client.prototype, 'query');
    const counts: number[] = [];
    for (const recipe of [smallRecipe, long] as Recipe[]) {
      const runId = await harness.submit({ recipe, set: { 'stages.first.epochs': 15 } });
      statements.mockClear();
      await harness.engine.cancelRun(runId, ada, '');
      counts.push(statements.mock.calls.length);
      expect((await harness.run(runId)).state).toBe('cancelled');
    }
    statements.mockRestore();
    expect(counts[0]).toBeGreaterThan(5);
    expect(counts[1]).toBe(counts[0]);
  });

  it('is rejected once the run has ended', async () => {
    const runId = await harness.submit({ set: { 'stages.first.epochs': 6 } });
    await harness.playAll(runId);
    await expect(harness.engine.cancelRun(runId, ada, '')).rejects.toMatchObject({ code: 'wrong_state' });
    await expect(harness.engine.cancelRun('run_00000000000000000000000000', ada, '')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('a retry', () => {
  it('continues from what failed', async () => {
    const runId = await harness.submit({ set: { 'stages.first.epochs': 13 } });
    const [attempt = ''] = await harness.startAttempts(runId, 'first');
    await harness.engine.finishAttempt(attempt, 1, {
      outcome: 'failed',
      cause: 'user',
      code: 'training_diverged',
      message: 'the loss is NaN',
    });
    expect(await states(runId)).toMatchObject({ first: 'failed', second: 'cancelled' });
    await harness.engine.retryRun(runId, ada, null);
    expect(await states(runId)).toMatchObject({ prepare: 'reused', first: 'ready', second: 'blocked' });
    await harness.playAll(runId);
    expect((await harness.run(runId)).state).toBe('succeeded');
  });

  it('reruns a named step that is done, and what depends on it', async () => {
    const runId = await harness.submit({ set: { 'stages.first.epochs': 6 } });
    await harness.playAll(runId);
    await harness.engine.retryRun(runId, ada, 'search');
    expect(await states(runId)).toMatchObject({ extract_index: 'reused', search: 'ready', evaluate: 'blocked' });
    await harness.playAll(runId);
    expect(await states(runId)).toMatchObject({ search: 'succeeded', evaluate: 'succeeded', register: 'succeeded' });
  });

  it('is rejected while the run is live, and for an unknown step', async () => {
    const runId = await harness.submit({ set: { 'stages.first.epochs': 14 } });
    await expect(harness.engine.retryRun(runId, ada, null)).rejects.toMatchObject({ code: 'wrong_state' });
    await harness.engine.cancelRun(runId, ada, '');
    await expect(harness.engine.retryRun(runId, ada, 'nothing')).rejects.toThrow('its steps are prepare, first');
  });
});

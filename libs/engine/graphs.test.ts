import { recipe as recipeSchema, type StepInputReference } from '@cairn/contract';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ada, type Harness, openEngineHarness, playedDetails, request, smallRecipe } from './testing/engine-harness.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await openEngineHarness();
  // What all runs share already exists; each test makes its own steps distinct through their settings.
  await harness.playAll(await harness.submit());
});
afterAll(() => harness.close());

const states = async (runId: string) =>
  Object.fromEntries(
    (await harness.prisma.step.findMany({ where: { runId }, orderBy: { position: 'asc' } })).map((row) => [row.name, row.state]),
  );

describe('a graph', () => {
  const index = { kind: 'extract' as const, list: 'index' as const, shards: 2, workers: 1 };
  const extraction = (inputs: Record<string, StepInputReference>) =>
    recipeSchema.parse({ name: 'features', dataset: 'toy', steps: { features: { ...index, inputs: { lists: 'prepare', ...inputs } } } });

  it('extracts with a registered model, and reuses the results of the pipeline of the model', async () => {
    const set = { 'stages.first.epochs': 21 };
    const whole = await harness.submit({ set });
    await harness.playAll(whole);
    const { version } = await harness.prisma.model.findFirstOrThrow({ where: { runId: whole } });
    const pipelineStep = await harness.step(whole, 'extract_index');
    await harness.engine.setAlias({ model: 'toy', alias: 'production' }, { version, reason: 'the first' }, ada);
    for (const model of ['toy', `toy@${version}`, 'toy@production']) {
      const runId = await harness.submit({ recipe: extraction({ model: { model } }) });
      // The same list, model and result settings: the features already exist.
      expect(await harness.run(runId)).toMatchObject({ state: 'succeeded' });
      expect((await harness.step(runId, 'features')).artifactId).toBe(pipelineStep.artifactId);
    }
    const ofRun = await harness.submit({ recipe: extraction({ model: { run: whole, step: 'export' } }), noReuse: true });
    await harness.playAll(ofRun);
    const exported = (await harness.step(whole, 'export')).artifact;
    const { given } = await harness.step(ofRun, 'features');
    expect(given).toEqual([{ role: 'model', name: `export of ${whole}`, artifactId: exported?.id, sha256: exported?.digest }]);
    expect(await harness.run(ofRun)).toMatchObject({ state: 'succeeded' });
  });

  it('accepts lists from outside: their rows determine its shards', async () => {
    const whole = await harness.submit({ set: { 'stages.first.epochs': 22 } });
    await harness.playAll(whole);
    const lists = { run: whole, step: 'prepare' };
    const recipe = extraction({ lists, model: { run: whole, step: 'export' } });
    const plan = await harness.engine.planRun(request({ recipe }), ada);
    expect(plan.steps.map(({ name, action }) => [name, action])).toEqual([['features', 'reuse']]);
    const runId = await harness.submit({ recipe, noReuse: true });
    expect(await harness.step(runId, 'features')).toMatchObject({ state: 'ready', shardsTotal: 2 });
    await harness.playAll(runId);
    expect(await harness.run(runId)).toMatchObject({ state: 'succeeded' });
  });

  it('trains from a registered model if it has the same network', async () => {
    const whole = await harness.submit({ set: { 'stages.first.epochs': 23 } });
    await harness.playAll(whole);
    const train = (embeddingDim: number) =>
      recipeSchema.parse({
        ...{ name: 'on', dataset: 'toy' },
        steps: {
          on: {
            ...{ kind: 'train', inputs: { lists: 'prepare', start: { model: 'toy' } }, model: { backbone: 'resnet18', embeddingDim } },
            ...{ list: 'clean', imageSize: 32, epochs: 1, learningRate: 0.1, batch: 4, ranks: 1 },
          },
        },
      });
    const message = 'steps.on.inputs.start is toy, which produces features of length 512; model.embeddingDim is 64';
    await expect(harness.submit({ recipe: train(64) })).rejects.toMatchObject({ code: 'model_mismatch', message });
    const runId = await harness.submit({ recipe: train(512) });
    expect((await harness.step(runId, 'on')).given).toMatchObject([
      { role: 'start', artifactId: (await harness.step(whole, 'second')).artifactId },
    ]);
    await harness.playAll(runId);
  });

  it('trains the first stage of a pipeline from a checkpoint of another run, and reuses what has the same start', async () => {
    const whole = await harness.submit({ set: { 'stages.first.epochs': 27 } });
    await harness.playAll(whole);
    const start = { run: whole, step: 'second' };
    const on = await harness.submit({ set: { 'stages.first.from': start } });
    const { artifactId } = await harness.step(whole, 'second');
    expect(await harness.step(on, 'first')).toMatchObject({
      state: 'ready',
      given: [{ role: 'start', name: `second of ${whole}`, artifactId }],
    });
    await harness.playAll(on);
    expect(await harness.run(on)).toMatchObject({ state: 'succeeded' });
    const byArtifact = await harness.submit({ set: { 'stages.first.from': { artifact: artifactId } } });
    expect((await harness.step(byArtifact, 'first')).artifactId).toBe((await harness.step(on, 'first')).artifactId);
    const otherNetwork = { 'stages.first.from': start, 'model.embeddingDim': 64 };
    const message = `stages.first.from is second of ${whole}, which produces features of length 512; model.embeddingDim is 64`;
    await expect(harness.submit({ set: otherNetwork })).rejects.toMatchObject({ code: 'model_mismatch', message });
  });

  it('makes identical steps wait for the one that builds their result', async () => {
    const whole = await harness.submit({ set: { 'stages.first.epochs': 26 } });
    await harness.playAll(whole);
    const twice = extraction({ model: { run: whole, step: 'export' } });
    const recipe = {
      ...twice,
      steps: { ...twice.steps, again: { ...index, inputs: { lists: 'prepare', model: { run: whole, step: 'export' } } } },
    };
    const changed = recipeSchema.parse({ ...recipe, prepare: { testSeed: 26 } });
    const runId = await harness.submit({ recipe: changed, noReuse: ['prepare'] });
    await harness.prisma.artifact.updateMany({ where: { kind: 'features' }, data: { memoKey: null } });
    await harness.play(runId, 'prepare');
    await harness.play(runId, 'features');
    expect(await states(runId)).toEqual({ prepare: 'succeeded', features: 'succeeded', again: 'reused' });
    expect(await harness.run(runId)).toMatchObject({ state: 'succeeded' });
  });

  it('runs up to the wanted step', async () => {
    const runId = await harness.submit({ set: { 'stages.first.epochs': 24 }, until: ['second'] });
    expect(Object.keys(await states(runId))).toEqual(['prepare', 'first', 'second']);
    await harness.playAll(runId);
    expect(await harness.run(runId)).toMatchObject({ state: 'succeeded' });
  });

  it.each<[StepInputReference, string, RegExp]>([
    [{ model: 'nobody' }, 'not_found', /is nobody, but no such version is registered/],
    [{ model: 'toy@999' }, 'not_found', /is toy@999, but no such version is registered/],
    [{ model: 'toy@stable' }, 'not_found', /is toy@stable, but no such version is registered/],
    [{ run: 'nobody', step: 'export' }, 'not_found', /is export of nobody, but that step does not exist/],
    [{ artifact: `art_${'0'.repeat(26)}` }, 'not_found', /which is not a ready artifact/],
  ])('is rejected without its input %j', async (model, code, message) => {
    await expect(harness.submit({ recipe: extraction({ model }) })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it('is rejected with an input of another kind', async () => {
    const whole = await harness.submit({ set: { 'stages.first.epochs': 25 } });
    await harness.play(whole, 'first');
    await expect(harness.submit({ recipe: extraction({ model: { run: whole, step: 'first' } }) })).rejects.toMatchObject({
      code: 'invalid_setting',
      message: `steps.features.inputs.model is first of ${whole}, which has the kind checkpoint; expected model`,
    });
  });
});

const { model, stages, extract } = smallRecipe;

const pipeline = { stages, export: smallRecipe.export, extract };

const voting = recipeSchema.parse({
  name: 'voting',
  dataset: 'toy',
  prepare: { lists: ['clean', 'index_train', 'query', 'index'] },
  models: { A: { model, ...pipeline }, B: { model: { ...model, initSeed: 1 }, ...pipeline } },
  ensemble: { rerank: { mode: 'before_merge' } },
  register: { model: 'together' },
});

/** Plays a run and returns which of its steps were not reused. */
async function made(change: Parameters<Harness['submit']>[0]): Promise<string[]> {
  const runId = await harness.submit(change);
  await harness.playAll(runId);
  expect((await harness.run(runId)).state).toBe('succeeded');
  const steps = await harness.prisma.step.findMany({ where: { runId, state: 'succeeded' }, orderBy: { position: 'asc' } });
  return steps.map(({ name }) => name);
}

describe('a run of several models', () => {
  beforeAll(async () => {
    await harness.close();
    harness = await openEngineHarness();
    await harness.playAll(await harness.submit({ recipe: voting }));
  });

  it('is planned for the four models of the submission, each with its features, and searches them together', async () => {
    const { steps } = await harness.engine.planRun(request({ recipe: 'submission', dataset: 'toy' }), ada);
    const rerank = steps.find(({ name }) => name === 'rerank');
    expect(rerank?.settings).toMatchObject({ rerank: { mode: 'before_merge', alpha: 1, beta: 0.1 }, references: 'index_train' });
    expect(rerank?.needs).toHaveLength(1 + 4 * 5);
    const counts = (kind: string): number => steps.filter((step) => step.kind === kind).length;
    expect(['train', 'extract', 'tag', 'vote', 'search', 'evaluate', 'register'].map(counts)).toEqual([16, 12, 4, 4, 0, 1, 1]);
  });

  it('searches again, and does nothing else again, when a constant of the rerank or a weight changes', async () => {
    const after = ['rerank', 'evaluate', 'register'];
    expect(await made({ recipe: voting })).toEqual(['register']);
    expect(await made({ recipe: voting, set: { 'ensemble.rerank.alpha': 0.5 } })).toEqual(after);
    expect(await made({ recipe: { ...voting, ensemble: { ...voting.ensemble, weights: { B: 0.5 } } } })).toEqual(after);
    expect(await made({ recipe: voting, set: { 'ensemble.blockRows': 10 } })).toEqual(['register']);
  });

  it('extracts only the query set that is new, and takes the features of references and index as they are', async () => {
    const set = { evaluate: null, 'models.A.extract.query.list': 'clean', 'models.B.extract.query.list': 'clean' };
    const { register: _, ...recipe } = voting;
    expect(await made({ recipe, set })).toEqual(['A-extract_query', 'B-extract_query', 'rerank']);
  });

  it('extracts other references alone, and none again for those that were there before', async () => {
    const set = { 'ensemble.references': 'full', 'prepare.lists': [...voting.prepare.lists, 'full'] };
    const theirs = ['A-extract_references', 'B-extract_references'];
    expect(await made({ recipe: voting, set })).toEqual(['prepare', ...theirs, 'rerank', 'evaluate', 'register']);
    expect(await made({ recipe: voting, set: { ...set, 'ensemble.rerank.beta': 0.2 } })).toEqual(['rerank', 'evaluate', 'register']);
    expect(await made({ recipe: voting })).toEqual(['register']);
  });

  it('tags the index of each model once, for later constants and query sets too, and keeps the keys of what follows', async () => {
    const recipe = { ...voting, ensemble: { ...voting.ensemble, tags: { shards: 3, workers: 2 } } };
    expect(await made({ recipe })).toEqual(['A-tag_index', 'B-tag_index', 'register']);
    expect(await made({ recipe, set: { 'ensemble.rerank.alpha': 0.25 } })).toEqual(['rerank', 'evaluate', 'register']);
    const { register: _, ...alone } = recipe;
    const set = { evaluate: null, 'models.A.extract.query.list': 'index', 'models.B.extract.query.list': 'index' };
    expect(await made({ recipe: alone, set })).toEqual(['rerank']);
  });

  it('finds the votes of each query set once for the same constants of the votes, and keeps the keys of what follows', async () => {
    const recipe = { ...voting, ensemble: { ...voting.ensemble, voting: { shards: 2, workers: 2 } } };
    const theirs = ['A-vote_query', 'B-vote_query'];
    expect(await made({ recipe })).toEqual([...theirs, 'register']);
    expect(await made({ recipe, set: { 'ensemble.rerank.alpha': 0.125 } })).toEqual(['rerank', 'evaluate', 'register']);
    expect(await made({ recipe, set: { 'ensemble.rerank.k2': 2 } })).toEqual([...theirs, 'rerank', 'evaluate', 'register']);
    const { register: _, ...alone } = recipe;
    const set = { evaluate: null, 'models.A.extract.query.list': 'index_train', 'models.B.extract.query.list': 'index_train' };
    // The features are those of the references.
    expect(await made({ recipe: alone, set })).toEqual([...theirs, 'rerank']);
  });

  it("keeps a model's images a step with another batch", async () => {
    const { recipe } = await harness.engine.planRun(request({ recipe: voting, set: { 'models.B.stages.first.batch': 2 } }), ada);
    expect(recipe.models.B?.stages.first).toMatchObject({ batch: 2, effectiveBatch: 4 });
    expect(recipe.models.A?.stages.first).toMatchObject({ batch: 4, effectiveBatch: null });
  });

  it('reuses what the recipe of one of its models made', async () => {
    const alone = recipeSchema.parse({ name: 'alone', dataset: 'toy', prepare: voting.prepare, ...voting.models.B });
    expect(await made({ recipe: alone })).toEqual(['search', 'evaluate']);
    // A fleet in place of one task finds the same, under the same key; more neighbours are other candidates.
    const set = { 'search.fleet': { shards: 3, workers: 2 } };
    expect(await made({ recipe: alone, set })).toEqual(['scan_index']);
    expect(await made({ recipe: alone, set: { ...set, 'search.topK': 10 } })).toEqual(['scan_index', 'search', 'evaluate']);
    expect(await made({ recipe: alone, set: { ...set, 'search.fleet.shards': 2 } })).toEqual([]);
  });

  it('is refused at once where a graph compares features that different models made in other runs', async () => {
    const runId = await harness.submit({ recipe: voting });
    const artifact = async (step: string) => ({ artifact: (await harness.step(runId, step)).artifact?.id ?? '' });
    const search = async (query: string, index: string) => {
      const inputs = { query: await artifact(query), index: await artifact(index) };
      return harness.submit({
        recipe: recipeSchema.parse({ name: 'mixed', dataset: 'toy', steps: { search: { kind: 'search', inputs } } }),
      });
    };
    await expect(search('A-extract_query', 'B-extract_index')).rejects.toMatchObject({
      code: 'model_mismatch',
      message: expect.stringMatching(/^the step search compares features of different models/),
    });
    await harness.playAll(await search('A-extract_query', 'A-extract_index'));
  });

  it('registers the ensemble with the artifacts of each model, and takes a registered model in place of a trained one', async () => {
    const registered = await harness.prisma.model.findFirstOrThrow({ where: { name: 'together' }, orderBy: { version: 'desc' } });
    const parts = ['checkpoint', 'model', 'index', 'query', 'references'].flatMap((role) => [`${role}.A`, `${role}.B`]);
    expect(Object.keys(registered.artifacts as object).toSorted()).toEqual([...parts, 'evaluation', 'neighbours'].toSorted());

    const register = { model: 'alone' };
    await harness.playAll(await harness.submit({ recipe: { ...smallRecipe, prepare: voting.prepare, register } }));
    const { A: _, ...others } = voting.models;
    const recipe = recipeSchema.parse({ ...voting, models: { ...others, C: { registered: 'alone', extract } } });
    const again = await harness.submit({ recipe });
    await harness.playAll(again);
    const { artifacts } = await harness.prisma.model.findFirstOrThrow({ where: { runId: again } });
    const { artifactId } = await harness.step(again, 'C-extract_index');
    const alone = await harness.prisma.model.findFirstOrThrow({ where: { name: 'alone' } });
    expect(artifacts).toMatchObject({ 'model.C': (alone.artifacts as Record<string, string>).model, 'index.C': artifactId });

    // However many inputs come from outside, they are looked up in one statement.
    const statements = vi.spyOn(pg.Client.prototype, 'query');
    const counts: number[] = [];
    for (const models of [{ C: recipe.models.C }, { C: recipe.models.C, D: recipe.models.C, E: recipe.models.C }]) {
      statements.mockClear();
      await harness.engine.planRun(request({ recipe: recipeSchema.parse({ ...recipe, register: undefined, models }) }), ada);
      counts.push(statements.mock.calls.filter(([query]) => /from artifact where project_id/.test(JSON.stringify(query))).length);
    }
    statements.mockRestore();
    expect(counts).toEqual([1, 1]);

    // An ensemble is not one model.
    const ofEnsemble = recipeSchema.parse({ ...recipe, models: { ...others, C: { registered: 'together', extract } } });
    await expect(harness.engine.planRun(request({ recipe: ofEnsemble }), ada)).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('models.C.registered is together'),
    });
  });
});

describe('lists with which a later step must fail', () => {
  const missing = { rows: 9, distinct: 9, classes: null, missingImages: 5, missingExamples: ['index/a/b/c/abc.jpg'] };
  const message = '5 of 9 images of the list index have no file, more than the allowed share of 0.05, such as index/a/b/c/abc.jpg';

  it('end a run before it trains, also when they are reused or the run is retried', async () => {
    const set = { 'prepare.testSeed': 77 };
    const runId = await harness.submit({ set });
    const [attempt = ''] = await harness.startAttempts(runId, 'prepare');
    const { prepare } = playedDetails;
    const details = { ...prepare, lists: { ...(prepare.lists as object), index: missing } };
    await harness.engine.finishAttempt(attempt, 1, { outcome: 'succeeded', files: [harness.file('lists', attempt)], details });
    await harness.finalize(runId, 'prepare');
    const seen = async (id: string) => {
      const { state, failure } = await harness.step(id, 'extract_index');
      return { run: await harness.run(id), state, failure, steps: await states(id) };
    };
    const failed = {
      run: { state: 'failed', cause: 'extract_index failed' },
      state: 'failed',
      failure: { cause: 'data', code: 'too_many_bad_images', message },
      steps: { first: 'cancelled', second: 'cancelled', export: 'cancelled', extract_query: 'cancelled' },
    };
    expect(await seen(runId)).toMatchObject({ ...failed, steps: { ...failed.steps, prepare: 'succeeded' } });
    await harness.engine.retryRun(runId, ada, null);
    expect(await seen(runId)).toMatchObject(failed);
    expect(await seen(await harness.submit({ set }))).toMatchObject({ ...failed, steps: { ...failed.steps, prepare: 'reused' } });
    const allowed = await harness.submit({ set: { ...set, 'extract.index.maxBadImageShare': 0.6, 'stages.first.epochs': 78 } });
    expect(await states(allowed)).toMatchObject({ first: 'ready', extract_index: 'blocked' });
    await harness.engine.cancelRun(allowed, ada, '');
  });

  it('end it also for a stage that continues from one with more classes', async () => {
    const { first, second } = smallRecipe.stages;
    const stages = { first: { ...first, list: 'full', epochs: 79 }, second: { ...second, list: 'clean' } };
    const runId = await harness.submit({ recipe: recipeSchema.parse({ ...smallRecipe, stages }), set: { 'prepare.testSeed': 78 } });
    await harness.play(runId, 'prepare');
    expect(await states(runId)).toMatchObject({ prepare: 'succeeded', first: 'cancelled', second: 'failed' });
    const { failure } = await harness.step(runId, 'second');
    expect(failure).toMatchObject({
      cause: 'user',
      code: 'model_mismatch',
      message: expect.stringMatching(/^The list clean has 2 classes/),
    });
  });
});

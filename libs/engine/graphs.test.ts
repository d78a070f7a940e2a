import { recipe as recipeSchema, type StepInputReference } from '@cairn/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ada, type Harness, openEngineHarness, request } from './testing/engine-harness.ts';

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

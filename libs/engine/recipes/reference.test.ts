import { type Recipe, recipe as recipeSchema } from '@cairn/contract';
import { expandRecipe } from '@cairn/domain';
import { describe, expect, test } from 'vitest';
import { loadRecipes } from '../recipes.ts';
import { referenceRecipes } from './reference.ts';

/** The reference's configs/GLDv2, as read from its files: size/pad, list, sampler, epochs, rate, batch, decay, warm-up, m/s, CP, start. */
const table = `
R50_256               | 256/10 | clean, softmax | 10 | .08   | 128 | 5e-4 | 1 | .3/30 | 2 | resnet50-19c8e357
R50_256_finetune      | 256/10 | all, gld       | 2  | .008  | 128 | 5e-4 | 0 | .3/30 | 2 | R50_256
RXt101ibn_384         | 384/15 | clean, softmax | 10 | .08   | 40  | 5e-4 | 1 | .3/30 | 2 | resnext101_ibn_a-6ace051d
RXt101ibn_384_finetune | 384/15 | c2x, softmax  | 6  | .008  | 40  | 5e-4 | 0 | .3/30 | 2 | 384 ep10
RXt101ibn_512_finetune | 512/20 | full, softmax | 4  | .0008 | 18  | 1e-5 | 0 | .3/30 | 2 | 384_finetune ep2
RXt101ibn_512_all     | 512/20 | all, gld       | 4  | .0008 | 18  | 1e-5 | 0 | .3/30 | 2 | 512_finetune ep2
ResNeSt101_384        | 384/15 | clean, softmax | 10 | .08   | 36  | 5e-4 | 1 | .3/30 | 2 | resnest101-22405ba7
ResNeSt101_384_finetune | 384/15 | c2x, softmax | 6  | .008  | 88  | 5e-4 | 0 | .3/30 | 2 | 384 ep10
ResNeSt101_512_finetune | 512/20 | full, softmax | 2 | .0008 | 40  | 1e-5 | 0 | .3/30 | 2 | 384_finetune ep6
ResNeSt101_512_all    | 512/20 | all, gld       | 2  | .0008 | 40  | 1e-5 | 0 | .3/30 | 2 | 512_finetune ep2
ResNeSt269_448        | 448/18 | clean, softmax | 10 | .08   | 28  | 5e-4 | 1 | .3/30 | 2 | resnest269-0cc87c48
ResNeSt269_448_finetune | 448/18 | c2x, softmax | 6  | .008  | 28  | 5e-4 | 0 | .3/30 | 2 | 448 ep10
ResNeSt269_512_finetune | 512/20 | full, softmax | 2 | .0008 | 6   | 5e-4 | 0 | 0/60  | 1 | 448_finetune ep4
ResNeSt269_512_all    | 512/20 | all, gld       | 2  | .0008 | 6   | 5e-4 | 0 | 0/60  | 1 | 512_finetune ep2
SER101ibn_384         | 384/15 | clean, softmax | 10 | .08   | 96  | 5e-4 | 1 | .3/30 | 2 | se_resnet101_ibn_a-fabed4e2
SER101ibn_384_finetune | 384/15 | c2x, softmax  | 6  | .008  | 96  | 5e-4 | 0 | .3/30 | 2 | 384 ep10
SER101ibn_512_finetune | 512/20 | full, softmax | 4  | .0008 | 18  | 1e-5 | 0 | .3/30 | 2 | 384_finetune ep6
SER101ibn_512_all     | 512/20 | all, gld       | 4  | .0008 | 18  | 1e-5 | 0 | .3/30 | 2 | 512_finetune ep2`;

const rows = table
  .trim()
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()));
const recipes = new Map(referenceRecipes.map((input) => [input.name, recipeSchema.parse(input)]));
const numbers = (text: string | undefined) => (text ?? '').split('/').map(Number);

function stageOf(config: string): { recipe: Recipe; stage: Recipe['stages'][string] } {
  const [name = '', ...rest] = config.split('_');
  const recipe = recipes.get(name);
  const stage = recipe?.stages[rest.join('_')];
  if (recipe === undefined || stage === undefined) throw new Error(`no stage ${config}`);
  return { recipe, stage };
}

test('the table has all eighteen configurations', () => {
  expect(rows).toHaveLength(18);
  expect(rows.every((row) => row.length === 11)).toBe(true);
});

test.each(rows)("%s is the reference's to the number", (config, sizes, data, epochs, rate, batch, decay, warmup, arc, period) => {
  const { stage } = stageOf(config ?? '');
  const [list, sampler] = (data ?? '').split(', ');
  const [imageSize, pad] = numbers(sizes);
  const [margin, scale] = numbers(arc);
  expect(stage).toMatchObject({ imageSize, pad, list, sampler, epochs: Number(epochs), learningRate: Number(rate), batch: Number(batch) });
  expect(stage).toMatchObject({
    weightDecay: Number(decay),
    warmupEpochs: Number(warmup),
    margin,
    scale,
    checkpointEveryEpochs: Number(period),
  });
  expect(stage).toMatchObject({ ranks: 8, effectiveBatch: Number(batch) * 8, flip: 0.5, erasing: 1, momentum: 0.9, biasLrFactor: 2 });
  expect(stage.partialStep).toBe(sampler === 'softmax' ? 'fill' : 'drop');
  expect(stage).toMatchObject({ precision: 'fp16', preprocessing: 'reference', loaderWorkers: 32 });
});

test.each(rows)('%s starts from what the reference starts it from', (config, ...cells) => {
  const { recipe, stage } = stageOf(config ?? '');
  const start = cells.at(-1) ?? '';
  const [, before, epoch] = /^(\S+) ep(\d+)$/.exec(start) ?? [];
  if (before !== undefined) {
    expect(stage).toMatchObject({ from: before, weights: null });
    const earlier = recipe.stages[before];
    expect(earlier?.lastEpoch ?? earlier?.epochs).toBe(Number(epoch));
  } else if (config === 'R50_256_finetune') {
    expect(stage).toMatchObject({ from: '256', weights: null });
    expect(recipe.stages['256']?.lastEpoch).toBeNull();
  } else expect(stage).toMatchObject({ from: 'init', weights: start });
});

test('the backbones are those of the weights', () => {
  const pipelines = [...recipes].filter(([name]) => name !== 'submission');
  expect(pipelines.map(([name, { model }]) => [name, model?.backbone, model?.embeddingDim])).toEqual([
    ['fast', 'resnet50', 512],
    ['R50', 'resnet50', 512],
    ['SER101ibn', 'se_resnet101_ibn_a', 512],
    ['RXt101ibn', 'resnext101_ibn_a', 512],
    ['ResNeSt101', 'resnest101', 512],
    ['ResNeSt269', 'resnest269', 512],
    ['SER101ibn-paper', 'se_resnet101_ibn_a', 512],
    ['RXt101ibn-paper', 'resnext101_ibn_a', 512],
    ['ResNeSt101-paper', 'resnest101', 512],
    ['ResNeSt269-paper', 'resnest269', 512],
  ]);
});

test("submission has the reference's four models, each as its own recipe makes it, with the rerank and the references of its notebook", () => {
  const { models, ensemble, prepare } = recipes.get('submission') ?? {};
  expect(Object.keys(models ?? {})).toEqual(['SER101ibn', 'RXt101ibn', 'ResNeSt101', 'ResNeSt269']);
  for (const [name, { model, stages, export: exported, extract }] of Object.entries(models ?? {})) {
    const alone = recipes.get(name);
    expect({ model, stages, export: exported }).toEqual({ model: alone?.model, stages: alone?.stages, export: alone?.export });
    expect(extract).toEqual({ ...alone?.extract, references: expect.objectContaining({ list: 'index_train' }) });
    expect(exported).toMatchObject({ imageSize: 512, preprocessing: 'reference' });
    expect(prepare?.lists).toEqual(expect.arrayContaining(alone?.prepare.lists ?? []));
  }
  expect(ensemble).toMatchObject({
    weights: { SER101ibn: 1, RXt101ibn: 1, ResNeSt101: 1, ResNeSt269: 1 },
    rerank: { mode: 'before_merge', votes: 3, alpha: 1, beta: 0.1, k1: 10, k2: 3, voteNeighbours: 30, voteLambda: 0.5 },
    ...{ references: 'index_train', topK: 100, tags: { shards: 16, workers: 8 } },
  });
});

test('fast is the first stage of R50 and nothing else', () => {
  expect(recipes.get('fast')?.stages).toEqual({ '256': recipes.get('R50')?.stages['256'] });
  expect(recipes.get('fast')?.prepare.lists).toEqual(['clean', 'query', 'index']);
});

test.each(['SER101ibn', 'RXt101ibn', 'ResNeSt101', 'ResNeSt269'])('%s-paper has what the paper says where the code says other', (name) => {
  const ofCode = Object.values(recipes.get(name)?.stages ?? {});
  const ofPaper = Object.values(recipes.get(`${name}-paper`)?.stages ?? {});
  expect(ofPaper.map(({ epochs, lastEpoch }) => [epochs, lastEpoch])).toEqual([10, 6, 2, 2].map((epochs) => [epochs, null]));
  expect(ofPaper.map(({ weightDecay, margin, scale }) => [weightDecay, margin, scale])).toEqual(Array(4).fill([5e-4, 0.3, 30]));
  expect(ofPaper.map(({ learningRate }) => learningRate)).toEqual([0.08, 0.008, 0.0008, 0.0008]);
  const rest = (stages: typeof ofCode) =>
    stages.map(({ epochs: _e, lastEpoch: _l, weightDecay: _w, margin: _m, scale: _s, ...stage }) => stage);
  expect(rest(ofPaper)).toEqual(rest(ofCode));
});

describe('every built-in recipe', async () => {
  const builtin = [...(await loadRecipes())];

  test('is found by its name, the written ones among them', () => {
    expect(builtin.map(([name]) => name).sort()).toEqual([...recipes.keys(), 'mini', 'mini-resnet50', 'mini-submission', 'tiny'].sort());
  });

  test('mini-resnet50 is mini with a backbone of the reference, from untrained weights, at rates that it stands, for fewer epochs', async () => {
    const [mini, large] = ['mini', 'mini-resnet50'].map((name) => new Map(builtin).get(name)?.recipe);
    const alike = (recipe: typeof mini) => ({
      ...recipe,
      ...{ name: '', description: '', model: { ...recipe?.model, backbone: '' }, register: {} },
      stages: Object.entries(recipe?.stages ?? {}).map(([name, stage]) => [name, { ...stage, learningRate: 0, epochs: 0 }]),
    });
    expect(alike(large)).toEqual(alike(mini));
    expect(large?.model?.backbone).toBe('resnet50');
  });

  test('mini-submission begins with the first stages of mini, so that these are reused', () => {
    const [mini, small] = ['mini', 'mini-submission'].map((name) => new Map(builtin).get(name)?.recipe);
    const { '384': first, '384_finetune': second } = mini?.stages ?? {};
    expect(small?.models.seed0).toMatchObject({ model: mini?.model, stages: { '384': first, '384_finetune': second } });
    expect(expandRecipe(small as Recipe).map(({ name }) => name)).toEqual(
      expect.arrayContaining(['rerank', 'no_votes', 'evaluate_no_votes']),
    );
  });

  test.each(builtin)('%s has a graph, and its YAML is the recipe again', async (_name, { recipe, yaml }) => {
    const { parse } = await import('yaml');
    expect(expandRecipe(recipe).map((step) => step.kind)).toContain('train');
    expect(recipeSchema.parse(parse(yaml))).toEqual(recipe);
  });
});

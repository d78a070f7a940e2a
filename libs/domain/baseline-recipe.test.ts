import { recipe as recipeSchema } from '@cairn/contract';
import { expect, test } from 'vitest';
import { baselineRecipe, baselineStep, expandRecipe } from './index.ts';

const model = { backbone: 'resnet18', embeddingDim: 8 };
const stage = { from: 'init', list: 'clean', imageSize: 32, epochs: 1, learningRate: 0.1, batch: 4, ranks: 1 };
const pipeline = {
  ...{ model, stages: { only: stage }, export: { stage: 'only', imageSize: 32 } },
  extract: { index: { list: 'index', shards: 3, workers: 2 }, query: { list: 'query', shards: 1, workers: 1 }, more: { list: 'clean' } },
};
const plain = recipeSchema.parse({
  name: 'plain',
  ...pipeline,
  prepare: { testSeed: 7 },
  search: { topK: 50 },
  register: { model: 'toy' },
});

test('a baseline is evaluated as the run is: with its lists, extractions and search, and the registered model in place of the trained one', () => {
  const steps = expandRecipe(recipeSchema.parse(baselineRecipe(plain, 'evaluate', 'toy@3')));
  expect(steps.map(({ name }) => name)).toEqual([
    ...['prepare', 'baseline-extract_index', 'baseline-extract_query', 'baseline-search', baselineStep],
  ]);
  const of = (name: string) => steps.find((step) => step.name === name);
  const ran = (name: string) => expandRecipe(plain).find((step) => step.name === name);
  for (const [own, run] of [
    ['prepare', 'prepare'],
    ['baseline-extract_index', 'extract_index'],
    ['baseline-search', 'search'],
    [baselineStep, 'evaluate'],
  ] as const)
    expect(of(own)?.settings).toEqual(ran(run)?.settings);
  expect(of('baseline-extract_index')?.wants).toMatchObject([{ role: 'model', input: { model: 'toy@3' } }]);
});

test('of several models it is that whose evaluation is judged; what evaluates several together, or is a graph, has no such recipe', () => {
  const two = recipeSchema.parse({ name: 'two', models: { A: pipeline, B: { ...pipeline, search: { topK: 20 } } } });
  const recipe = baselineRecipe(two, 'B-evaluate', 'toy@3');
  expect(recipe?.models?.baseline).toMatchObject({ registered: 'toy@3', search: { topK: 20 } });
  const together = recipeSchema.parse({ name: 'both', models: { A: pipeline, B: pipeline }, ensemble: {} });
  expect(baselineRecipe(together, 'evaluate', 'toy@3')).toBeNull();
  expect(baselineRecipe(plain, 'another', 'toy@3')).toBeNull();
  expect(baselineRecipe(recipeSchema.parse({ ...plain, evaluate: null }), 'evaluate', 'toy@3')).toBeNull();
});

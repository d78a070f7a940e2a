import { type StubApi, startStubApi } from '@cairn/client/testing';
import { type RecipeInput, recipe } from '@cairn/contract';
import { loadRecipes } from '@cairn/engine';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runTestCli } from '../testing/test-cli.ts';

let api: StubApi;
beforeAll(async () => {
  api = await startStubApi();
  const recipes = await loadRecipes();
  const summary = ({ name, description, stages, models }: RecipeInput) => ({
    ...{ name, description },
    ...{ stages: Object.keys(stages ?? {}), models: Object.keys(models ?? {}) },
  });
  api.on('GET', '/v1/recipes', () => ({
    items: [...recipes.values()].map((one) => summary(one.recipe)),
  }));
  api.on('GET', '/v1/recipes/SER101ibn', () => recipes.get('SER101ibn'));
});
afterAll(() => api.close());

test('recipes lists the pipelines with their stages, and the submission with its models', async () => {
  const { code, out } = await runTestCli(['recipes'], { url: api.url });
  expect(code).toBe(0);
  expect(out).toMatch(/^SER101ibn +384 \S+ 384_finetune \S+ 512_finetune \S+ 512_all +se_resnet101_ibn_a in the stages/m);
  expect(out).toMatch(/^submission +SER101ibn \+ RXt101ibn \+ ResNeSt101 \+ ResNeSt269 +The final submission of the 2nd place solution/m);
});

test('a recipe is shown as YAML that parses to the same recipe, below a line for completion in editors', async () => {
  const { out } = await runTestCli(['recipe', 'show', 'SER101ibn'], { url: api.url });
  expect(out.split('\n')[0]).toBe(`# yaml-language-server: $schema=${api.url}/recipe.schema.json`);
  expect(recipe.parse(parse(out))).toEqual((await loadRecipes()).get('SER101ibn')?.recipe);
});

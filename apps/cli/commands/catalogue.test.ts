import { idFor, type StubApi, startStubApi } from '@cairn/client/testing';
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

test('an alias is set only if it names the given version, or none', async () => {
  api.on('PUT', '/v1/models/landmark/aliases/production', () => ({ items: [] }));
  const set = (ifVersion: string) =>
    runTestCli(['alias', 'set', 'production', 'landmark@8', '--reason', 'better', '--if-version', ifVersion], { url: api.url });
  expect((await set('none')).code).toBe(0);
  expect((await set('7')).code).toBe(0);
  expect((await set('seven')).code).toBe(2);
  const change = { version: 8, reason: 'better' };
  const changes = api.requests.filter(({ method }) => method === 'PUT');
  expect(changes.map(({ body }) => JSON.parse(body))).toEqual([
    { ...change, ifVersion: null },
    { ...change, ifVersion: 7 },
  ]);
});

test('models is a table with a column for each score, empty where a model has none, and leaves the counts to --json', async () => {
  const model = {
    id: idFor('mdl', 1),
    name: 'mini',
    version: 5,
    owner: 'ada',
    artifacts: {},
    runId: idFor('run', 1),
    createdAt: '2026-01-02T03:04:05.000Z',
  };
  const metrics = { mapAt100: 0.597, mapAt100Low: 0.551, mapAt100High: 0.64, mapAt100Public: 0.61, indexImages: 682, trainedEpochs: 2.5 };
  const items = [
    { ...model, metrics },
    { ...model, id: idFor('mdl', 2), version: 12, metrics: { mapAt100: 0.04 } },
  ];
  api.on('GET', '/v1/models', () => ({ items, nextCursor: null }));
  const [titles, ...rows] = (await runTestCli(['models'], { url: api.url })).out.trimEnd().split('\n');
  expect(titles).toMatch(/^model {3}version {23}mAP@100 {3}mAP@100 public {3}created +run$/);
  expect(rows[0]).toMatch(/^mini {10}5 {3}59\.7 % \(95 %: 55\.1 to 64\.0\) {11}61\.0 % {3}\S/);
  expect(rows[1]).toMatch(/^mini {9}12 {25}4\.0 % {20}\S/);
  expect(JSON.parse((await runTestCli(['models', '--json'], { url: api.url })).out).items[0].metrics).toEqual(metrics);
});

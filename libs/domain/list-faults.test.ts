import { type KindAndSettings, kindAndSettings, recipe } from '@cairn/contract';
import { expect, test } from 'vitest';
import { expandRecipe, faultOfLists } from './index.ts';

const stage = { from: 'init', list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 10, ranks: 2, maxBadImageShare: 0.1 };
const steps = expandRecipe(
  recipe.parse({
    name: 'x',
    model: { backbone: 'resnet18' },
    stages: { one: stage },
    export: { stage: 'one', imageSize: 48 },
    extract: { index: { list: 'index', maxBadImageShare: 0.1 }, query: { list: 'query' } },
    register: { model: 'x' },
  }),
);
const stepOf = (name: string, settings: object = {}): KindAndSettings => {
  const found = steps.find((step) => step.name === name);
  return kindAndSettings.parse({ kind: found?.kind, settings: { ...found?.settings, ...settings } });
};
const list = { rows: 100, distinct: 100, labels: 9, classes: 9, unlabelled: 0, missingImages: 0 };
const faultOf = (step: KindAndSettings, change: object, start: Parameters<typeof faultOfLists>[2] = null) =>
  faultOfLists(step, { clean: { ...list, ...change }, index: { ...list, ...change }, full: list }, start);

test('no step fails for lists that have what it needs, or of which an earlier release recorded less', () => {
  for (const step of steps) {
    expect(faultOf(step, {})).toBeNull();
    expect(faultOf(step, { labels: undefined, unlabelled: undefined, missingImages: undefined })).toBeNull();
  }
});

test('an extraction fails when more images have no file than it allows, and names some', () => {
  const extraction = stepOf('extract_index');
  expect(faultOf(extraction, { missingImages: 10 })).toBeNull();
  expect(faultOf(extraction, { missingImages: 11, missingExamples: ['index/a/b/c/abc.jpg'] })).toEqual({
    cause: 'data',
    code: 'too_many_bad_images',
    message: '11 of 100 images of the list index have no file, more than the allowed share of 0.1, such as index/a/b/c/abc.jpg',
  });
  // Fewer images than rows: one may be counted several times.
  expect(faultOf(extraction, { rows: 101, missingImages: 11 })).toBeNull();
  expect(faultOf(extraction, { missingImages: null })).toBeNull();
});

test('a stage fails when an epoch must meet too many images without a file', () => {
  expect(faultOf(stepOf('one'), { missingImages: 30 })).toBeNull();
  expect(faultOf(stepOf('one'), { missingImages: 31 })).toMatchObject({ code: 'too_many_bad_images' });
  expect(faultOf(stepOf('one', { effectiveBatch: 40 }), { missingImages: 31 })).toBeNull();
  expect(faultOf(stepOf('one'), { missingImages: 31, unlabelled: 1 })).toBeNull();
  expect(faultOf(stepOf('one', { sampler: 'gld' }), { missingImages: 31 })).toBeNull();
});

test('a stage fails on a list without labels, as do votes and tags of its images', () => {
  const message = 'No row of the list clean has a label, so the stage has nothing to train on';
  expect(faultOf(stepOf('one'), { labels: 0, classes: null })).toEqual({ cause: 'data', code: 'empty_list', message });
  for (const kind of ['tag', 'vote'] as const)
    expect(faultOf(kindAndSettings.parse({ kind, settings: { references: 'index' } }), { labels: 0 })).toMatchObject({
      code: 'empty_list',
    });
  const rerank = (mode: string) =>
    kindAndSettings.parse({ kind: 'rerank', settings: { weights: { x: 1 }, references: 'index', rerank: { mode } } });
  expect(faultOf(rerank('before_merge'), { labels: 0 })).toMatchObject({ code: 'empty_list' });
  expect(faultOf(rerank('off'), { labels: 0 })).toBeNull();
});

test('a stage fails when the one that it continues from has more classes', () => {
  expect(faultOf(stepOf('one'), {}, { stage: 'zero', list: 'full' })).toBeNull();
  expect(faultOf(stepOf('one'), { classes: 8 }, { stage: 'zero', list: 'full' })).toEqual({
    cause: 'user',
    code: 'model_mismatch',
    message:
      'The list clean has 8 classes, but the stage continues from zero, which has 9 (full): train on the list with fewer classes first',
  });
});

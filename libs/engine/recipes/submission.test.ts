import { expect, test } from 'vitest';
import { loadRecipes } from '../recipes.ts';
import { submission } from './submission.ts';

test('the submission has the four models of the reference with its rerank, each a built-in recipe that ends at its size', async () => {
  const recipes = await loadRecipes();
  expect(Object.entries(submission.models)).toEqual([
    ['SER101ibn', { weight: 1 }],
    ['RXt101ibn', { weight: 1 }],
    ['ResNeSt101', { weight: 1 }],
    ['ResNeSt269', { weight: 1 }],
  ]);
  expect(submission).toMatchObject({ imageSize: 512, references: 'index_train' });
  expect(submission.rerank).toEqual({ category: 'before_merge', votes: 3, alpha: 1, beta: 0.1, k1: 10, k2: 3 });
  for (const name of Object.keys(submission.models)) {
    const { imageSize, preprocessing } = recipes.get(name)?.recipe.export ?? {};
    expect({ imageSize, preprocessing }).toEqual({ imageSize: submission.imageSize, preprocessing: submission.preprocessing });
  }
});

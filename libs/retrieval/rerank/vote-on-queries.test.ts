import { defaultRerank } from '@cairn/contract';
import { expect, onTestFinished, test } from 'vitest';
import { createScorer } from '../search/create-scorer.ts';
import { createProducts } from './create-products.ts';
import { smallModels, vectorsOf } from './testing/small-search.ts';
import { voteOnQueries } from './vote-on-queries.ts';

test('votes are the same however many queries go through the references at a time', async () => {
  const [model] = smallModels({ queries: 40 });
  if (model === undefined) throw new Error('no model was drawn');
  const { references } = vectorsOf(model);
  if (references === null) throw new Error('no references were drawn');
  const [products, scorer] = [await createProducts({ device: 'cpu', threads: 1 }), await createScorer({ device: 'cpu', threads: 1 })];
  onTestFinished(async () => {
    await products.close();
    await scorer.close();
  });
  const means = { products, scorer, blockRows: 33, threads: 1 };
  const given = { queries: new Float32Array(model.queries.flat()), references, means, what: 'M0' };
  const vote = (atOnce: number) => voteOnQueries({ ...given, settings: defaultRerank, atOnce });
  const expected = await vote(100);
  expect(expected.rows).toHaveLength(40 * defaultRerank.votes);
  for (const chunk of [1, 7, 35]) expect(await vote(chunk)).toEqual(expected);
});

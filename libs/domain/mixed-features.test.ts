import { type RecipeInput, recipe as recipeSchema } from '@cairn/contract';
import { expect, test } from 'vitest';
import { expandRecipe } from './expand-recipe.ts';
import { type OutsideDetails, refuseMixedFeatures } from './mixed-features.ts';

const model = { backbone: 'resnet18' } as const;
const exported = (scales?: number[]) =>
  ({
    kind: 'export',
    imageSize: 64,
    model,
    ...(scales && { scales }),
    inputs: { lists: 'prepare', checkpoint: { weights: 'w' } },
  }) as const;
const extracted = (list: 'query' | 'index' | 'full' | 'index_train', by: string) =>
  ({ kind: 'extract', list, inputs: { lists: 'prepare', model: by } }) as const;

/** A graph of two models with the features of each; `rerank` has its inputs. */
function refusalOf(last: NonNullable<RecipeInput['steps']>[string], outside: OutsideDetails = () => undefined): string | null {
  const recipe = recipeSchema.parse({
    name: 'graph',
    prepare: { lists: ['full', 'query', 'index', 'index_train'] },
    steps: {
      a: exported(),
      b: exported([0.5, 1, 2]),
      same_as_a: exported(),
      a_query: extracted('query', 'a'),
      a_index: extracted('index', 'a'),
      a_full: extracted('full', 'a'),
      b_query: extracted('query', 'b'),
      b_index: extracted('index', 'b'),
      b_references: extracted('index_train', 'b'),
      other_index: extracted('index', 'same_as_a'),
      a_votes: { kind: 'vote', references: 'full', k1: 5, inputs: { lists: 'prepare', query: 'a_query', references: 'a_full' } },
      last,
    },
  });
  try {
    refuseMixedFeatures(expandRecipe(recipe), outside);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const ensemble = (inputs: Record<string, string>, settings: object = {}) =>
  ({ kind: 'rerank', weights: { A: 1, B: 1 }, inputs, ...settings }) as const;
const own = { 'query.A': 'a_query', 'index.A': 'a_index', 'query.B': 'b_query', 'index.B': 'b_index' };
const voting = { rerank: { mode: 'before_merge' }, references: 'full' };

test.each([
  ['a search in features of another model', { kind: 'search', inputs: { query: 'a_query', index: 'b_index' } } as const, /as its features/],
  ['a scan of features of another model', { kind: 'scan', inputs: { query: 'a_query', index: 'b_index' } } as const, /as its features/],
  [
    'a tagging by references of another model',
    { kind: 'tag', references: 'index_train', inputs: { lists: 'prepare', index: 'a_index', references: 'b_references' } } as const,
    /its input index is a_index of a, references is b_references of b/,
  ],
  [
    'a voting by references of another model',
    { kind: 'vote', references: 'index_train', inputs: { lists: 'prepare', query: 'a_query', references: 'b_references' } } as const,
    /its input query is a_query of a, references is b_references of b/,
  ],
  [
    'a voting by references of another list than their labels',
    { kind: 'vote', references: 'full', inputs: { lists: 'prepare', query: 'b_query', references: 'b_references' } } as const,
    /references .* is b_references, of the list "index_train", but its setting references is "full"/,
  ],
  [
    'a model with the index of another',
    ensemble({ ...own, 'index.A': 'b_index' }),
    /as A: its input query\.A is a_query of a, index\.A is b_index of b/,
  ],
  ['a whitening learned from another model', ensemble({ ...own, 'whitening.B': 'a_index' }), /as B: .* whitening\.B is a_index of a/],
  ['queries as an index', ensemble({ ...own, 'index.B': 'b_query' }), /index\.A is of the list "index", index\.B of "query"/],
  [
    'references of another list than their labels',
    ensemble({ ...own, lists: 'prepare', 'references.A': 'a_full', 'references.B': 'b_references' }, voting),
    /references\.B .* is b_references, of the list "index_train", but its setting references is "full"/,
  ],
  [
    'votes that were found with other constants',
    ensemble(
      { lists: 'prepare', 'query.A': 'a_query', 'index.A': 'a_index', 'references.A': 'a_full', 'votes.A': 'a_votes' },
      { ...voting, weights: { A: 1 }, rerank: { mode: 'before_merge', k1: 4 } },
    ),
    /votes\.A of the step last is a_votes, whose k1 is 5, but its setting rerank\.k1 is 4/,
  ],
])('%s is refused', (_what, step, message) => {
  expect(refusalOf(step)).toMatch(message);
});

test('features of exports that are equal are of one model, and each model has its own', () => {
  expect(refusalOf({ kind: 'search', inputs: { query: 'a_query', index: 'other_index' } })).toBeNull();
  expect(refusalOf(ensemble(own))).toBeNull();
});

test('features from outside are compared by the digest of their model, as far as it is known', () => {
  const artifact = (letter: string) => ({ artifact: `art_${letter.repeat(26)}` });
  const step = { kind: 'search', inputs: { query: artifact('1'), index: artifact('2') } } as const;
  const made = (query: object, index: object): OutsideDetails => {
    return (_step, role) => (role === 'query' || role === 'index' ? { digest: 'd', details: role === 'query' ? query : index } : undefined);
  };
  expect(refusalOf(step, made({ model: 'aaa' }, { model: 'bbb' }))).toMatch(/query is one from outside of the model aaa, index is .* bbb/);
  expect(refusalOf(step, made({ model: 'aaa' }, { model: 'aaa' }))).toBeNull();
  expect(refusalOf(step, made({ model: 'aaa' }, {}))).toBeNull();
});

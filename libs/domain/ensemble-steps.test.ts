import { defaultRerank, recipe, resultSettings } from '@cairn/contract';
import { describe, expect, it } from 'vitest';
import { expandRecipe, memoParts, rulesOf, type StepPlan } from './index.ts';

const stage = { from: 'init', list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 16, ranks: 2 };
const extract = { index: { list: 'index', shards: 3 }, query: { list: 'query' } };
const trained = {
  model: { backbone: 'resnet18' },
  stages: { only: { ...stage, weights: 'published' } },
  export: { stage: 'only', imageSize: 48 },
  extract,
};
const imported = { model: { backbone: 'resnet50' }, export: { weights: 'theirs', imageSize: 48 }, extract };
const registered = { registered: 'landmarks@3', extract };
const lists = ['clean', 'index_train', 'query', 'index'];

const own = (parts: object) =>
  recipe.parse({ name: 'own', prepare: { lists }, models: { A: trained, B: imported, C: registered }, ensemble: {}, ...parts });
const expand = (parts: object = {}) => expandRecipe(own(parts));
const named = (steps: readonly StepPlan[]) =>
  steps.map(({ name, needs, wants }) => [
    name,
    [...needs.map(({ role, step }) => `${role}: ${step}`), ...wants.map(({ role, input }) => `${role}: ${JSON.stringify(input)}`)].join(
      ', ',
    ),
  ]);
const votes = { rerank: { mode: 'before_merge' }, weights: { B: 0.5 } };

describe('an ensemble', () => {
  it('searches its models together, whether they are trained, imported or registered, and registers the lineage of each', () => {
    expect(named(expand({ ensemble: votes, register: { model: 'all' } }))).toEqual([
      ['prepare', ''],
      ['A-only', 'lists: prepare, weights: {"weights":"published"}'],
      ['A-export', 'lists: prepare, checkpoint: A-only'],
      ['A-extract_index', 'lists: prepare, model: A-export'],
      ['A-extract_query', 'lists: prepare, model: A-export'],
      ['A-extract_references', 'lists: prepare, model: A-export'],
      ['B-export', 'lists: prepare, checkpoint: {"weights":"theirs"}'],
      ['B-extract_index', 'lists: prepare, model: B-export'],
      ['B-extract_query', 'lists: prepare, model: B-export'],
      ['B-extract_references', 'lists: prepare, model: B-export'],
      ['C-extract_index', 'lists: prepare, model: {"model":"landmarks@3"}'],
      ['C-extract_query', 'lists: prepare, model: {"model":"landmarks@3"}'],
      ['C-extract_references', 'lists: prepare, model: {"model":"landmarks@3"}'],
      [
        'rerank',
        'lists: prepare, query.A: A-extract_query, index.A: A-extract_index, query.B: B-extract_query, index.B: B-extract_index, ' +
          'query.C: C-extract_query, index.C: C-extract_index, ' +
          'references.A: A-extract_references, references.B: B-extract_references, references.C: C-extract_references',
      ],
      ['evaluate', 'lists: prepare, neighbours: rerank'],
      [
        'register',
        'checkpoint.A: A-only, model.A: A-export, index.A: A-extract_index, query.A: A-extract_query, ' +
          'model.B: B-export, index.B: B-extract_index, query.B: B-extract_query, index.C: C-extract_index, query.C: C-extract_query, ' +
          'references.A: A-extract_references, references.B: B-extract_references, references.C: C-extract_references, ' +
          'neighbours: rerank, evaluation: evaluate, ' +
          'weights.A: {"weights":"published"}, checkpoint.B: {"weights":"theirs"}, model.C: {"model":"landmarks@3"}',
      ],
    ]);
  });

  it('extracts the references as the index, unless the recipe says how, and gives each model a weight of one', () => {
    const steps = expand({
      ensemble: { ...votes, references: 'full' },
      prepare: { lists: [...lists, 'full'] },
      models: { A: trained, B: { ...imported, extract: { ...extract, references: { list: 'full', shards: 9 } } } },
    });
    const settingsOf = (name: string) => steps.find((step) => step.name === name)?.settings;
    expect(settingsOf('A-extract_references')).toMatchObject({ list: 'full', shards: 3 });
    expect(settingsOf('B-extract_references')).toMatchObject({ list: 'full', shards: 9 });
    expect(settingsOf('rerank')).toMatchObject({ weights: { A: 1, B: 0.5 }, references: 'full', rerank: { alpha: 1, k1: 10 }, topK: 100 });
  });

  it('needs no references without votes, and whitens by an extraction of each model', () => {
    const steps = named(expand({ ensemble: { whitening: 'index', rerank: { whitenTo: 64 } }, models: { A: trained }, evaluate: null }));
    expect(steps.slice(3)).toEqual([
      ['A-extract_index', 'lists: prepare, model: A-export'],
      ['A-extract_query', 'lists: prepare, model: A-export'],
      ['rerank', 'query.A: A-extract_query, index.A: A-extract_index, whitening.A: A-extract_index'],
    ]);
  });

  it('has fleets find tags and votes, with the constants of the rerank, unless the vectors are changed first', () => {
    const fleets = { tags: { shards: 3 }, voting: { shards: 2 } };
    const steps = (ensemble: object) => expand({ ensemble: { ...votes, ...fleets, ...ensemble }, evaluate: null });
    const made = steps({ rerank: { mode: 'before_merge', k1: 7 } });
    expect(named(made).filter(([name]) => name?.startsWith('A-tag') || name?.startsWith('A-vote'))).toEqual([
      ['A-tag_index', 'lists: prepare, index: A-extract_index, references: A-extract_references'],
      ['A-vote_query', 'lists: prepare, query: A-extract_query, references: A-extract_references'],
    ]);
    const constants = { votes: 3, voteNeighbours: 30, voteLambda: 0.5, k1: 7, k2: 3 };
    const fleet = { shards: 2, workers: 8, threads: 0, blockRows: 50_000 };
    expect(made.find(({ name }) => name === 'A-vote_query')?.settings).toEqual({ references: 'index_train', ...constants, ...fleet });
    const roles = (ensemble: object) =>
      steps(ensemble)
        .at(-1)
        ?.needs.flatMap(({ role }) => (/^(tags|votes)\.A/.test(role) ? [role] : []));
    const withRerank = (rerank: object) => roles({ rerank: { mode: 'before_merge', ...rerank } });
    expect(withRerank({})).toEqual(['tags.A', 'votes.A']);
    expect(withRerank({ augmentIndex: 1 })).toEqual(['votes.A']);
    expect(withRerank({ expandQueries: 1 })).toEqual(['tags.A']);
    expect(roles({ whitening: 'index' })).toEqual([]);
    expect(withRerank({ mode: 'off' })).toEqual([]);
    const step = made.at(-1);
    if (step === undefined) throw new Error('there is no step rerank');
    // They follow from the other inputs, so that results are the same ones with and without them.
    expect([rulesOf(step).reads('tags.A'), rulesOf(step).reads('votes.A')]).toEqual(['none', 'none']);
  });

  it('matches images on a pool, by the lists that the models extract, and only when it is asked to', () => {
    const rerank = { localMatching: { weight: 0.2 } };
    const matched = expand({ ensemble: { rerank }, evaluate: null }).at(-1);
    const alone = expand({ evaluate: null }).at(-1);
    if (matched?.kind !== 'rerank' || alone?.kind !== 'rerank') throw new Error('the last step is the search');
    expect(matched.settings).toMatchObject({
      queryList: 'query',
      indexList: 'index',
      rerank: { localMatching: { images: 10, weight: 0.2 } },
    });
    expect(matched.needs).toEqual([{ role: 'lists', step: 'prepare' }, ...alone.needs]);
    expect([rulesOf(matched).pool, rulesOf(alone).pool]).toEqual(['gpu', 'tasks']);
    expect(rulesOf(matched).reads('lists')).toEqual({ lists: ['query', 'index'] });
    const both = { ...matched, settings: { ...matched.settings, rerank: { ...matched.settings.rerank, mode: 'after_merge' as const } } };
    expect(rulesOf(both).reads('lists')).toEqual({ lists: ['index_train', 'query', 'index'] });
    // Without it nothing of it is in the memo key: results of earlier releases are reused.
    const inputs = Object.fromEntries(matched.needs.map(({ role }) => [role, { digest: role, details: {} }]));
    const keys = [matched, alone].map((step) => Object.keys((memoParts(step, inputs, '').parts?.settings.rerank ?? {}) as object));
    expect(keys).toEqual([[...Object.keys(defaultRerank)], Object.keys(defaultRerank).filter((name) => name !== 'localMatching')]);
    expect(resultSettings(alone)).not.toHaveProperty('queryList');
  });

  it('matches images with an imported matcher, whose content counts, where images are matched', () => {
    const rerank = { localMatching: {} };
    const steps = (matcher: string | null) => expand({ ensemble: { rerank, matcher } }).find(({ name }) => name === 'rerank');
    const input = { role: 'matcher', input: { weights: 'points' }, setting: 'ensemble.matcher', contents: ['matcher'] };
    expect([steps('points')?.wants, steps(null)?.wants]).toEqual([[input], []]);
    const step = steps('points');
    if (step === undefined) throw new Error('there is no step rerank');
    expect(rulesOf(step).reads('matcher')).toBe('all');
    expect(step.settings).not.toHaveProperty('matcher');
  });

  it('registers the ensemble with the matcher, whose licence its card names', () => {
    const wantsOf = (matcher: string | null) =>
      expand({ ensemble: { rerank: { localMatching: {} }, matcher }, register: { model: 'all' } }).find(({ name }) => name === 'register')
        ?.wants;
    const input = { role: 'matcher', input: { weights: 'points' }, setting: 'ensemble.matcher', contents: ['matcher'] };
    expect(wantsOf('points')).toEqual([...(wantsOf(null) ?? []), input]);
  });

  it('searches and evaluates each model too where that is asked for', () => {
    const names = expand({ ensemble: { eachModel: true } }).map(({ name }) => name);
    expect(names.filter((name) => /search|rerank|evaluate/.test(name))).toEqual([
      ...['A-search', 'A-evaluate', 'B-search', 'B-evaluate', 'C-search', 'C-evaluate'],
      ...['rerank', 'evaluate'],
    ]);
  });

  it.each([
    [{ ensemble: { weights: { D: 1 } } }, 'model not found; the models are A, B, C'],
    [{ model: { backbone: 'resnet18' } }, 'an ensemble uses the models in `models`; remove the model at the top level'],
    [{ models: {} }, 'an ensemble uses the models in `models`'],
    [{ models: { A: { ...trained, registered: 'x' } } }, 'a registered model takes no model, stages, export or register'],
    [{ models: { A: { extract } } }, 'give its `model`, or the name of a `registered` one'],
    [{ ensemble: undefined, register: { model: 'all' } }, 'stages, export, extract and register need a model'],
    [{ ensemble: { references: 'all' } }, 'Invalid option'],
    [{ ensemble: { matcher: 'points' } }, 'ensemble.matcher is "points", but ensemble.rerank.localMatching is null'],
    [{ models: { A: { ...trained, extract: { query: extract.query } } } }, 'the recipe has no models.A.extract.index'],
    [{ models: { A: { ...trained, extract: { index: extract.index } } } }, 'the recipe has no models.A.extract.query'],
    [
      { models: { A: { ...trained, extract: { ...extract, query: { list: 'index' } } } } },
      'models.A.extract.query.list is "index", but the step evaluate scores the list query',
    ],
    [
      { ensemble: votes, models: { A: trained, B: { ...imported, extract: { ...extract, references: { list: 'clean' } } } } },
      'models.B.extract.references.list is "clean", but ensemble.references is "index_train"',
    ],
    [{ ensemble: { ...votes, references: 'full' } }, 'models.A.extract.references.list is "full", but prepare.lists makes only'],
    [{ ensemble: { whitening: 'more' } }, 'ensemble.whitening is "more", but the recipe has no models.A.extract.more'],
    [{ ensemble: { rerank: { whitenTo: 64 } } }, 'the step rerank (rerank) needs an input whitening.A'],
    [
      {
        evaluate: null,
        ensemble: { rerank: { localMatching: {} } },
        models: { A: trained, B: { ...imported, extract: { ...extract, query: { list: 'clean' } } } },
      },
      'ensemble.rerank.localMatching reads the images of one list, but models.NAME.extract.query.list is query, clean',
    ],
    [
      { ensemble: { rerank: { localMatching: { matcher: 'matcher.onnx' } } } },
      'in a run the matcher is sift; `cairn search` takes an ONNX matcher by its path',
    ],
    [{ ensemble: { rerank: { localMatching: { confidence: 1 } } } }, 'Too big'],
    [{ ensemble: { rerank: { votes: 31 } } }, '31 votes cannot come from the 30 nearest references'],
  ])('refuses %j', (parts, message) => {
    expect(() => expand(parts)).toThrow(message);
  });
});

describe('a step rerank of a graph', () => {
  const features = (name: string) => ({ [`query.${name}`]: { model: name }, [`index.${name}`]: { model: name } });
  const graph = (step: object) => {
    const parsed = recipe.parse({ name: 'own', prepare: { lists }, steps: { together: { kind: 'rerank', ...step } } });
    return expandRecipe(parsed).at(-1);
  };

  it('has the inputs of the models that its weights name', () => {
    const step = graph({ weights: { a: 1, b: 2 }, inputs: { ...features('a'), ...features('b') } });
    if (step === undefined) throw new Error('the graph has a step');
    expect(step).toMatchObject({ kind: 'rerank', needs: [], wants: [{ role: 'query.a' }, { role: 'index.a' }, { role: 'query.b' }, {}] });
    expect(Object.keys(rulesOf(step).inputs)).toEqual(['query.a', 'index.a', 'whitening.a', 'query.b', 'index.b', 'whitening.b']);
  });

  it.each([
    [{ weights: {} }, 'name at least one model'],
    [{ weights: { a: 1, b: 1 }, inputs: features('a') }, 'the step together (rerank) needs an input query.b'],
    [
      { weights: { a: 1 }, inputs: { ...features('a'), ...features('b') } },
      'a step of the kind rerank takes query.a, index.a, whitening.a',
    ],
    [{ weights: { a: 1 }, inputs: features('a'), rerank: { mode: 'after_merge' } }, 'needs an input lists'],
    [{ weights: { a: 1 }, inputs: features('a'), rerank: { localMatching: {} } }, 'needs an input lists'],
    [
      { weights: { a: 1 }, inputs: { ...features('a'), lists: 'prepare' }, rerank: { localMatching: {} }, indexList: 'index_expand' },
      'the step together reads the list "index_expand", but prepare.lists makes only',
    ],
    [{ weights: { a: 1 }, inputs: { ...features('a'), lists: 'prepare' }, rerank: { mode: 'after_merge' } }, 'needs an input references.a'],
    [
      {
        ...{ weights: { a: 1 }, references: 'full', rerank: { mode: 'after_merge' } },
        inputs: { ...features('a'), lists: 'prepare', 'references.a': { model: 'a' } },
      },
      'the step together reads the list "full", but prepare.lists makes only',
    ],
    [{ weights: { a: 1 }, inputs: { ...features('a'), 'query.a': 'prepare' } }, 'which makes lists; it must be features'],
  ])('refuses %j', (step, message) => {
    expect(() => graph(step)).toThrow(message);
  });
});

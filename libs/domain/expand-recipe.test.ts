import { type ExtractSettings, isFleetKind, type Recipe, recipe, type StepKind } from '@cairn/contract';
import { describe, expect, it } from 'vitest';
import { expandRecipe, type StepPlan, stepKinds } from './index.ts';

const stage = { list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 16, ranks: 2 };
type Whole = Recipe & { export: NonNullable<Recipe['export']>; extract: { index: ExtractSettings; query: ExtractSettings } };
const make = (stages: Record<string, unknown>) =>
  recipe.parse({
    name: 'x',
    model: { backbone: 'resnet18' },
    stages,
    export: { stage: Object.keys(stages).at(-1), imageSize: 64 },
    extract: { index: { list: 'index' }, query: { list: 'query' } },
    register: { model: 'm' },
  }) as Whole;
const two = make({ '512_all': { ...stage, from: '384' }, '384': { ...stage, from: 'init' } });

describe('expandRecipe', () => {
  it('orders every step after the steps it needs, regardless of the order of the stages', () => {
    const steps = expandRecipe(two);
    for (const [index, step] of steps.entries())
      for (const need of step.needs) expect(steps.findIndex((other) => other.name === need.step)).toBeLessThan(index);
    expect(steps.map((step) => step.name)).toEqual([
      'prepare',
      '384',
      '512_all',
      'export',
      'extract_index',
      'extract_query',
      'search',
      'evaluate',
      'register',
    ]);
  });

  it('searches a large index with a fleet, whose candidates the search merges', () => {
    const recipeOf = (fleet: Recipe['search']) => expandRecipe({ ...two, search: fleet });
    const steps = recipeOf({ topK: 20, blockRows: 50_000, fleet: { shards: 5, workers: 3, threads: 1, blockRows: 9 } });
    const features = ['index', 'query'].map((role) => ({ role, step: `extract_${role}` }));
    const scan = { kind: 'scan', settings: { topK: 20, shards: 5, workers: 3, threads: 1, blockRows: 9 }, needs: features };
    expect(steps.find(({ name }) => name === 'scan_index')).toMatchObject(scan);
    const search = { settings: { topK: 20, blockRows: 50_000 }, needs: [...features, { role: 'candidates', step: 'scan_index' }] };
    expect(steps.find(({ name }) => name === 'search')).toEqual({ name: 'search', kind: 'search', wants: [], ...search });
  });

  it('knows each kind that is done by a fleet', () => {
    expect(Object.keys(stepKinds).filter((kind) => isFleetKind(kind) !== (stepKinds[kind as StepKind].fleet !== null))).toEqual([]);
  });

  it('rejects stages in a cycle, an unknown start and a list that is not made', () => {
    expect(() => expandRecipe(make({ a: { ...stage, from: 'b' }, b: { ...stage, from: 'a' } }))).toThrow('depend on each other in a cycle');
    expect(() => expandRecipe(make({ a: { ...stage, from: 'z' } }))).toThrow('stages.a.from is "z"');
    expect(() => expandRecipe(make({ a: { ...stage, from: 'init', list: 'index_train' } }))).toThrow('prepare.lists makes only');
    expect(() => expandRecipe(make({ search: { ...stage, from: 'init' } }))).toThrow('name of another step');
  });

  it.each(['constructor', 'toString', 'hasOwnProperty', 'valueOf', '__proto__'])('accepts "%s" as a stage only where it exists', (name) => {
    const init = { ...stage, from: 'init' };
    // The schema rejects names like __proto__; a direct caller gets the same answer.
    const without = make({ a: init });
    expect(() => expandRecipe({ ...without, export: { ...without.export, stage: name } })).toThrow('but the stages are a');
    const lost = { ...without, stages: { a: { ...without.stages.a, from: name } } } as Recipe;
    expect(() => expandRecipe(lost)).toThrow(`stages.a.from is "${name}", but the stages are a`);
    if (name === '__proto__') return;
    const steps = expandRecipe(make({ b: { ...stage, from: name }, [name]: init }));
    expect(steps.slice(0, 4).map((step) => step.name)).toEqual(['prepare', name, 'b', 'export']);
    expect(steps[2]?.needs).toContainEqual({ role: 'start', step: name });
  });

  it('rejects at submission what would lack a list days later: an extraction, a score between epochs, the evaluation', () => {
    const recipeWith = (change: Partial<Recipe>) => ({ ...make({ a: { ...stage, from: 'init' } }), ...change });
    const refused = (change: Partial<Recipe>) => expect(() => expandRecipe(recipeWith(change)));
    const lists = (...names: Recipe['prepare']['lists']) => ({ prepare: { ...two.prepare, lists: names } });
    const extract = { index: { ...two.extract.index, list: 'index_expand' as const }, query: two.extract.query };
    refused({ extract }).toThrow('extract.index.list is "index_expand", but prepare.lists makes only clean, c2x, full, all, query, index');
    refused(lists('clean', 'index')).toThrow('extract.query.list is "query", but prepare.lists makes only clean, index');
    const scored = make({ a: { ...stage, from: 'init', evaluate: 'end' } });
    const elsewhere = { index: { ...two.extract.index, list: 'clean' as const }, query: two.extract.query };
    expect(() => expandRecipe({ ...scored, extract: elsewhere, ...lists('clean', 'query') })).toThrow(
      'stages.a.evaluate is "end", which scores "index", but prepare.lists makes only clean, query',
    );
    refused({ extract: { ...two.extract, query: { ...two.extract.query, list: 'clean' } } }).toThrow(
      'the step evaluate scores the list query',
    );
    expect(expandRecipe(recipeWith({ extract, ...lists('clean', 'query', 'index_expand') }))).toHaveLength(8);
  });

  it.each([
    [{ effectiveBatch: 48 }, 'stages.a.effectiveBatch is 48; it must be a multiple of batch x ranks, 16 x 2 = 32'],
    [{ lastEpoch: 2 }, 'stages.a.lastEpoch is 2, but the stage has 1 epochs'],
    [{ sampler: 'id_uniform', imagesPerId: 3 }, 'stages.a.batch is 16; the sampler id_uniform needs a multiple of imagesPerId, 3'],
  ])('rejects %o', (settings, message) => {
    expect(() => expandRecipe(make({ a: { ...stage, from: 'init', ...settings } }))).toThrow(message);
  });

  it('accepts an effective batch of several batches, and weights only where a chain begins', () => {
    const begins = { ...stage, from: 'init', weights: 'w', effectiveBatch: 64 };
    expect(expandRecipe(make({ a: begins })).find((step) => step.name === 'a')?.settings).toMatchObject({
      effectiveBatch: 64,
      weights: 'w',
    });
    expect(() => expandRecipe(make({ a: begins, b: { ...stage, from: 'a', weights: 'w' } }))).toThrow('stages.b.weights is "w", but');
    const want = { role: 'weights', input: { weights: 'w' }, contents: ['backbone', 'model'], setting: 'stages.a.weights' };
    const steps = expandRecipe(make({ a: begins, b: { ...stage, from: 'a' } }));
    // register records them, since their licence applies to the model.
    expect(steps.flatMap(({ name, wants }) => wants.map((wanted) => [name, wanted]))).toEqual([
      ['a', want],
      ['register', want],
    ]);
  });

  it('starts a stage from a checkpoint of another run, of a registered model or by id', () => {
    for (const from of [{ run: 'before', step: 'second' }, { model: 'landmark@3' }, { artifact: `art_${'0'.repeat(26)}` }]) {
      const [a, b] = expandRecipe(make({ a: { ...stage, from }, b: { ...stage, from: 'a' } })).filter(({ kind }) => kind === 'train');
      expect(a).toMatchObject({
        settings: { from: 'start', weights: null },
        needs: [{ role: 'lists' }],
        wants: [{ role: 'start', input: from, setting: 'stages.a.from' }],
      });
      expect(b).toMatchObject({ needs: [{ role: 'lists' }, { role: 'start', step: 'a' }], wants: [] });
    }
    const both = { ...stage, from: { model: 'landmark@3' }, weights: 'w' };
    expect(() => expandRecipe(make({ a: both }))).toThrow('stages.a.weights is "w", but the stage starts from landmark@3');
    expect(() => make({ a: { ...stage, from: { weights: 'w' } } })).toThrow('use init, the name of a stage, {run: RUN, step: STAGE}');
  });

  it('exports the checkpoint of a stage, or an imported model in place of all stages', () => {
    const exporting = (stages: Record<string, unknown>, change: object) => {
      const made = make(stages);
      return expandRecipe({ ...made, export: { ...made.export, ...change } });
    };
    const steps = exporting({}, { weights: 'theirs' });
    expect(steps.map((step) => step.kind)).toEqual(['prepare', 'export', 'extract', 'extract', 'search', 'evaluate', 'register']);
    const want = { role: 'checkpoint', input: { weights: 'theirs' }, contents: ['model'], setting: 'export.weights' };
    expect(steps.filter((step) => step.wants.length > 0).map(({ kind, wants }) => ({ kind, wants }))).toEqual([
      { kind: 'export', wants: [want] },
      { kind: 'register', wants: [want] },
    ]);
    const init = { a: { ...stage, from: 'init' } };
    expect(() => exporting({}, {})).toThrow('neither is given');
    expect(() => exporting(init, { weights: 'theirs' })).toThrow('both are given');
    expect(() => exporting(init, { stage: null, weights: 'theirs' })).toThrow('so no step uses the stages a');
    expect(() => exporting({}, { stage: 'a' })).toThrow('the recipe has no stages');
    expect(() => exporting(init, { stage: 'b' })).toThrow('export.stage is "b", but the stages are a');
  });
});

const own = (parts: object) => recipe.parse({ name: 'own', ...parts });
const named = (steps: readonly StepPlan[]) =>
  steps.map(({ name, needs }) => [name, needs.map((need) => `${need.role}: ${need.step}`).join(', ')]);

describe('a recipe', () => {
  const pipeline = { model: two.model, stages: two.stages, export: two.export };

  it('is cut to the wanted steps and the steps they need', () => {
    expect(expandRecipe(two, ['export']).map(({ name }) => name)).toEqual(['prepare', '384', '512_all', 'export']);
    expect(expandRecipe({ ...two, until: ['384'] }).map(({ name }) => name)).toEqual(['prepare', '384']);
    expect(expandRecipe({ ...two, until: ['384'] }, ['prepare']).map(({ name }) => name)).toEqual(['prepare']);
    expect(() => expandRecipe(two, ['exprot'])).toThrow('until names "exprot", but the steps are prepare, 384,');
  });

  it('has only the parts of a pipeline that it describes', () => {
    const trained = own(pipeline);
    expect(expandRecipe(trained).map(({ name }) => name)).toEqual(['prepare', '384', '512_all', 'export']);
    const extracted = own({ ...pipeline, extract: { index: two.extract.index }, register: { model: 'm' } });
    expect(named(expandRecipe(extracted)).slice(-2)).toEqual([
      ['extract_index', 'lists: prepare, model: export'],
      ['register', 'checkpoint: 512_all, model: export, index: extract_index'],
    ]);
    expect(expandRecipe({ ...two, evaluate: null }).map(({ name }) => name)).not.toContain('evaluate');
    expect(() => own({ stages: two.stages })).toThrow('stages, export, extract and register need a model');
    expect(() => own({})).toThrow('a recipe has a model with stages, several models, or steps');
    expect(() => expandRecipe(own({ model: two.model, extract: two.extract }))).toThrow(
      'the input model of the step extract_index is "export", which is not a step',
    );
  });

  it('has several models in parallel on the same lists', () => {
    const steps = expandRecipe(
      own({
        models: { A: pipeline, B: { ...pipeline, stages: { only: { ...stage, from: 'init' } }, export: { ...two.export, stage: 'only' } } },
      }),
    );
    expect(named(steps)).toEqual([
      ['prepare', ''],
      ['A-384', 'lists: prepare'],
      ['A-512_all', 'lists: prepare, start: A-384'],
      ['A-export', 'lists: prepare, checkpoint: A-512_all'],
      ['B-only', 'lists: prepare'],
      ['B-export', 'lists: prepare, checkpoint: B-only'],
    ]);
    const lost = own({ models: { A: { ...pipeline, stages: { '384': { ...stage, from: 'gone' } } } } });
    expect(() => expandRecipe(lost)).toThrow('models.A.stages.384.from is "gone"');
  });

  it('is any graph of steps, with inputs from outside', () => {
    const graph = own({
      steps: {
        lists: { kind: 'prepare', lists: ['index', 'query', 'clean'] },
        features: { kind: 'extract', inputs: { lists: 'lists', model: { model: 'landmark@3' } }, list: 'index' },
        again: {
          ...{ kind: 'train', inputs: { lists: { artifact: `art_${'0'.repeat(26)}` }, start: { run: 'mini-1', step: '512_all' } } },
          ...{ list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 16, ranks: 2, model: two.model },
        },
      },
    });
    const steps = expandRecipe(graph);
    // No step needs the lists of the recipe's own `prepare`.
    expect(named(steps)).toEqual([
      ['lists', ''],
      ['features', 'lists: lists'],
      ['again', ''],
    ]);
    expect(steps[1]?.wants).toEqual([
      { role: 'model', input: { model: 'landmark@3' }, setting: 'steps.features.inputs.model', contents: ['model'] },
    ]);
    expect(steps[2]).toMatchObject({ kind: 'train', settings: { from: 'start', weights: null } });
    expect(
      expandRecipe(
        own({ ...pipeline, steps: { more: { kind: 'extract', inputs: { lists: 'prepare', model: 'export' }, list: 'all' } } }),
      ).at(-1),
    ).toMatchObject({ name: 'more', settings: { list: 'all' } });
  });

  const extract = { kind: 'extract', inputs: { lists: 'prepare', model: { model: 'landmark' } }, list: 'index' };
  it.each([
    [{ a: { ...extract, inputs: { lists: 'prepare' } } }, 'the step a (extract) needs an input model'],
    [
      { a: { ...extract, inputs: { ...extract.inputs, models: 'x' } } },
      'the input models of the step a: a step of the kind extract takes lists, model',
    ],
    [{ a: { ...extract, inputs: { ...extract.inputs, model: 'prepare' } } }, 'is the step prepare, which makes lists; it must be model'],
    [{ a: { ...extract, list: 'test' } }, 'the step a reads the list "test", but prepare.lists makes only'],
    [{ prepare: extract }, 'which makes features; it must be lists'],
    [
      {
        a: { kind: 'search', inputs: { query: 'b', index: 'b' } },
        b: { ...extract, inputs: { ...extract.inputs, lists: 'c' } },
        c: { kind: 'extract', inputs: { lists: 'b', model: 'b' }, list: 'index' },
      },
      'the input lists of the step b is the step c, which makes features',
    ],
  ])('rejects the graph %j', (steps, message) => {
    expect(() => expandRecipe(own({ steps }))).toThrow(message);
  });
});

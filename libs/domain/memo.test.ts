import { type Recipe, recipe } from '@cairn/contract';
import { describe, expect, it } from 'vitest';
import { exhaustedCause, expandRecipe, explainDifference, type KnownInput, type MemoParts, memoParts, retryDelayMs } from './index.ts';

const stage = { list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 16, ranks: 2 };
const make = (stages: Record<string, unknown>): Recipe =>
  recipe.parse({
    name: 'x',
    model: { backbone: 'resnet18' },
    stages,
    export: { stage: Object.keys(stages).at(-1), imageSize: 64 },
    extract: { index: { list: 'index' }, query: { list: 'query' } },
    register: { model: 'm' },
  });
const two = make({ '512_all': { ...stage, from: '384' }, '384': { ...stage, from: 'init' } });

describe('expandRecipe', () => {
  it('puts every step after what it needs, whatever the order of the stages', () => {
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

  it('refuses stages in a circle, a start that is not there and a list that is not made', () => {
    expect(() => expandRecipe(make({ a: { ...stage, from: 'b' }, b: { ...stage, from: 'a' } }))).toThrow('in a circle');
    expect(() => expandRecipe(make({ a: { ...stage, from: 'z' } }))).toThrow('stages.a.from is "z"');
    expect(() => expandRecipe(make({ a: { ...stage, from: 'init', list: 'index_train' } }))).toThrow('prepare.lists makes only');
    expect(() => expandRecipe(make({ search: { ...stage, from: 'init' } }))).toThrow('name of another step');
  });

  it.each(['constructor', 'toString', 'hasOwnProperty', 'valueOf', '__proto__'])(
    'takes "%s" for a stage only where there is one',
    (name) => {
      const init = { ...stage, from: 'init' };
      // The schema refuses names like __proto__; a caller with one gets the same answer.
      const without = make({ a: init });
      expect(() => expandRecipe({ ...without, export: { ...without.export, stage: name } })).toThrow('but the stages are a');
      const lost = { ...without, stages: { a: { ...without.stages.a, from: name } } } as Recipe;
      expect(() => expandRecipe(lost)).toThrow(`stages.a.from is "${name}", but the stages are a`);
      if (name === '__proto__') return;
      const steps = expandRecipe(make({ b: { ...stage, from: name }, [name]: init }));
      expect(steps.slice(0, 4).map((step) => step.name)).toEqual(['prepare', name, 'b', 'export']);
      expect(steps[2]?.needs).toContainEqual({ role: 'start', step: name });
    },
  );

  it('refuses at once what would miss a list days later: an extraction, a score between epochs, the evaluation', () => {
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
  ])('refuses %o', (settings, message) => {
    expect(() => expandRecipe(make({ a: { ...stage, from: 'init', ...settings } }))).toThrow(message);
  });

  it('takes an effective batch of several batches, and weights only where a chain begins', () => {
    const begins = { ...stage, from: 'init', weights: 'w', effectiveBatch: 64 };
    expect(expandRecipe(make({ a: begins })).find((step) => step.name === 'a')?.settings).toMatchObject({
      effectiveBatch: 64,
      weights: 'w',
    });
    expect(() => expandRecipe(make({ a: begins, b: { ...stage, from: 'a', weights: 'w' } }))).toThrow('stages.b.weights is "w", but');
    const want = { role: 'weights', name: 'w', contents: ['backbone', 'model'], setting: 'stages.a.weights' };
    const steps = expandRecipe(make({ a: begins, b: { ...stage, from: 'a' } }));
    // register tells of them, since their licence goes with the model.
    expect(steps.flatMap(({ name, wants }) => wants.map((wanted) => [name, wanted]))).toEqual([
      ['a', want],
      ['register', want],
    ]);
  });

  it('exports the checkpoint of a stage, or an imported model in place of all stages', () => {
    const exporting = (stages: Record<string, unknown>, change: object) => {
      const made = make(stages);
      return expandRecipe({ ...made, export: { ...made.export, ...change } });
    };
    const steps = exporting({}, { weights: 'theirs' });
    expect(steps.map((step) => step.kind)).toEqual(['prepare', 'export', 'extract', 'extract', 'search', 'evaluate', 'register']);
    const want = { role: 'checkpoint', name: 'theirs', contents: ['model'], setting: 'export.weights' };
    expect(steps.filter((step) => step.wants.length > 0).map(({ kind, wants }) => ({ kind, wants }))).toEqual([
      { kind: 'export', wants: [want] },
      { kind: 'register', wants: [want] },
    ]);
    const init = { a: { ...stage, from: 'init' } };
    expect(() => exporting({}, {})).toThrow('neither is given');
    expect(() => exporting(init, { weights: 'theirs' })).toThrow('both are given');
    expect(() => exporting(init, { stage: null, weights: 'theirs' })).toThrow('so the stages a lead nowhere');
    expect(() => exporting({}, { stage: 'a' })).toThrow('the recipe has no stages');
    expect(() => exporting(init, { stage: 'b' })).toThrow('export.stage is "b", but the stages are a');
  });
});

describe('memoParts', () => {
  const train = expandRecipe(two).find((step) => step.kind === 'train');
  if (train?.kind !== 'train') throw new Error('the recipe has no stage');
  const list = { rows: 9, distinct: 9, classes: 2, sha256: 'a'.repeat(64) };
  const lists = (change: object = {}) => ({ digest: 'd1', details: { lists: { clean: { ...list, ...change }, other: list } } });
  const parts = (settings: object = {}, inputs: Record<string, KnownInput> = { lists: lists() }): MemoParts => {
    const made = memoParts({ kind: 'train', settings: { ...train.settings, list: 'clean', ...settings } }, inputs, 'dataset');
    if (made.parts === null) throw new Error(`not known: ${made.unknown.join()}`);
    return made.parts;
  };

  it('change with a setting that affects the result, and not with an operational one', () => {
    expect(parts({ loaderWorkers: 7, logEverySteps: 3, evaluate: 'end' })).toEqual(parts());
    expect(parts({ epochs: 2 })).not.toEqual(parts());
    expect(parts({ model: { ...train.settings.model, embeddingDim: 64 } })).not.toEqual(parts());
  });

  it('hold of the lists the one that is read, with the tars that it names', () => {
    const more = { digest: 'd2', details: { lists: { ...lists().details.lists, test: list } } };
    expect(parts({}, { lists: more })).toEqual(parts());
    expect(parts({}, { lists: lists({ sha256: 'b'.repeat(64) }) })).not.toEqual(parts());
    expect(parts({}, { lists: lists({ tarsDigest: 'c'.repeat(64) }) })).not.toEqual(parts());
  });

  it('need no digest of lists of which the one that is read is known', () => {
    expect(parts({}, { lists: { ...lists(), digest: null } })).toEqual(parts());
    const inputs = { lists: { digest: null, details: null }, start: { digest: null, details: null } };
    expect(memoParts({ kind: 'train', settings: train.settings }, inputs, 'dataset')).toEqual({ parts: null, unknown: ['lists', 'start'] });
  });

  it('take the digest of all lists where an earlier release did not record those of each', () => {
    const { sha256: _, ...old } = list;
    expect(parts({}, { lists: { digest: 'd1', details: { lists: { clean: old } } } }).inputs).toEqual({ 'lists.clean': 'd1' });
  });

  it('are told apart in words', () => {
    expect(explainDifference(parts({ epochs: 2 }), parts({ epochs: 1 }))).toBe('setting epochs: 2, was 1');
    const model = { ...train.settings.model, embeddingDim: 64 };
    expect(explainDifference(parts({ model }), parts())).toBe(`setting model.embeddingDim: 64, was ${train.settings.model.embeddingDim}`);
    const otherOrder = {
      ...parts(),
      settings: { ...parts().settings, model: Object.fromEntries(Object.entries(train.settings.model).reverse()) },
    };
    expect(explainDifference(parts({ epochs: 2 }), { ...otherOrder, settings: { ...otherOrder.settings, epochs: 1 } })).toBe(
      'setting epochs: 2, was 1',
    );
    expect(explainDifference({ ...parts(), version: 2 }, parts())).toBe('this release computes it differently (version 2, was 1)');
    expect(explainDifference(parts({}, { lists: lists({ sha256: 'b'.repeat(64) }) }), parts())).toBe('its input lists.clean changed');
    expect(explainDifference(parts(), { ...parts(), version: null, inputs: { lists: 'd1' }, source: 'dataset' })).toBe(
      'an earlier release of Cairn made it, which kept no versions of what steps compute',
    );
  });
});

describe('the retry policy', () => {
  it('gives what the infrastructure did some tries, a person none, and a preemption all', () => {
    expect(exhaustedCause({ infrastructure: 5, preemption: 500 })).toBeNull();
    expect(exhaustedCause({ infrastructure: 6 })).toBe('infrastructure');
    expect(exhaustedCause({ user: 1 })).toBe('user');
  });

  it('waits twice as long each time, up to a limit', () => {
    expect([1, 2, 3, 30].map((nth) => retryDelayMs('infrastructure', nth))).toEqual([250, 500, 1000, 60_000]);
  });
});

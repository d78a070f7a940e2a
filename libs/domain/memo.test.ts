import { recipe } from '@cairn/contract';
import { describe, expect, it } from 'vitest';
import { expandRecipe, explainDifference, type KnownInput, type MemoParts, memoParts } from './index.ts';

const stage = { from: 'init', list: 'clean', imageSize: 48, epochs: 1, learningRate: 0.1, batch: 16, ranks: 2 };
const oneStage = recipe.parse({ name: 'x', model: { backbone: 'resnet18' }, stages: { only: stage } });

describe('memoParts', () => {
  const train = expandRecipe(oneStage).find((step) => step.kind === 'train');
  if (train?.kind !== 'train') throw new Error('the recipe has no stage');
  const list = { rows: 9, distinct: 9, classes: 2, sha256: 'a'.repeat(64) };
  const lists = (change: object = {}) => ({ digest: 'd1', details: { lists: { clean: { ...list, ...change }, other: list } } });
  const parts = (settings: object = {}, inputs: Record<string, KnownInput> = { lists: lists() }): MemoParts => {
    const made = memoParts({ kind: 'train', settings: { ...train.settings, list: 'clean', ...settings } }, inputs, 'dataset');
    if (made.parts === null) throw new Error(`not known: ${made.unknown.join()}`);
    return made.parts;
  };

  it('change with a setting that affects the result, but not with an operational one', () => {
    expect(parts({ loaderWorkers: 7, logEverySteps: 3, evaluate: 'end' })).toEqual(parts());
    expect(parts({ epochs: 2 })).not.toEqual(parts());
    expect(parts({ model: { ...train.settings.model, embeddingDim: 64 } })).not.toEqual(parts());
  });

  it('contain only the list that is read, with the tars that it names', () => {
    const more = { digest: 'd2', details: { lists: { ...lists().details.lists, test: list } } };
    expect(parts({}, { lists: more })).toEqual(parts());
    expect(parts({}, { lists: lists({ sha256: 'b'.repeat(64) }) })).not.toEqual(parts());
    expect(parts({}, { lists: lists({ tarsDigest: 'c'.repeat(64) }) })).not.toEqual(parts());
  });

  it('need no digest of the lists when the list that is read is known', () => {
    expect(parts({}, { lists: { ...lists(), digest: null } })).toEqual(parts());
    const inputs = { lists: { digest: null, details: null }, start: { digest: null, details: null } };
    expect(memoParts({ kind: 'train', settings: train.settings }, inputs, 'dataset')).toEqual({ parts: null, unknown: ['lists', 'start'] });
  });

  it('use the digest of all lists where an earlier release did not record one per list', () => {
    const { sha256: _, ...old } = list;
    expect(parts({}, { lists: { digest: 'd1', details: { lists: { clean: old } } } }).inputs).toEqual({ 'lists.clean': 'd1' });
  });

  it('are compared in words', () => {
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
      'an earlier release of Cairn made it, which did not record step versions',
    );
  });
});

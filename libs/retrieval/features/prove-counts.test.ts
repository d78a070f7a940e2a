import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CountProofInput, proveCounts } from './prove-counts.ts';

test('each image of the list has a row or a reason, however often the list repeats it', () => {
  expect(proveCounts({ list: ['a', 'b', 'a', 'c', 'b'], features: ['c', 'a'], rejected: ['b'] })).toEqual({
    listRows: 5,
    distinctIds: 3,
    rows: 2,
    rejected: 1,
  });
  expect(proveCounts({ list: [], features: [], rejected: [] })).toEqual({ listRows: 0, distinctIds: 0, rows: 0, rejected: 0 });
});

test.each<[string, CountProofInput, string]>([
  ['missing', { list: ['a', 'b'], features: ['a'], rejected: [] }, '1 in neither the features nor the rejected images (b)'],
  ['in the features but not in the list', { list: ['a'], features: ['a', 'x'], rejected: [] }, '1 not in the list (x)'],
  ['rejected but not in the list', { list: ['a'], features: ['a'], rejected: ['x'] }, '1 not in the list (x)'],
  ['twice in the features', { list: ['a'], features: ['a', 'a'], rejected: [] }, '1 twice in the features (a)'],
  ['rejected twice', { list: ['a'], features: [], rejected: ['a', 'a'] }, '1 twice in the rejected images (a)'],
  ['in both', { list: ['a'], features: ['a'], rejected: ['a'] }, '1 in the features and in the rejected images (a)'],
])('an id that is %s is named', (_, input, message) => {
  expect(() => proveCounts(input)).toThrow(message);
});

test('all faults are counted, with five examples each', () => {
  const list = Array.from({ length: 20 }, (_, index) => `m${index}`);
  const failure = (() => {
    try {
      return proveCounts({ list, features: ['x'], rejected: [] });
    } catch (error) {
      return error;
    }
  })();
  expect(failure).toMatchObject({
    code: 'corrupt_artifact',
    message: expect.stringContaining('1 not in the list (x); 20 in neither the features nor the rejected images (m0, m1, m2, m3, m4)'),
    details: { missing: { count: 20, examples: ['m0', 'm1', 'm2', 'm3', 'm4'] }, unexpected: { count: 1, examples: ['x'] } },
  });
});

test('a partition of the list is proven, and stops being one when any id is dropped, doubled or moved in', () => {
  const ids = fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(ids, fc.infiniteStream(fc.boolean()), fc.nat(), (list, coins, nat) => {
      const isGood = new Map(list.map((id) => [id, coins.next().value === true]));
      const features = list.filter((id) => isGood.get(id));
      const rejected = list.filter((id) => !isGood.get(id));
      expect(proveCounts({ list, features, rejected })).toMatchObject({ rows: features.length, rejected: rejected.length });
      const victim = list[nat % list.length] as string;
      expect(() =>
        proveCounts({ list, features: features.filter((id) => id !== victim), rejected: rejected.filter((id) => id !== victim) }),
      ).toThrow();
      expect(() => proveCounts({ list, features: [...features, victim], rejected })).toThrow();
      expect(() => proveCounts({ list, features, rejected: [...rejected, victim] })).toThrow();
    }),
  );
});

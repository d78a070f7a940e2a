import { sha256 } from '@cairn/runtime';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { proveShard, type WrittenShard } from './shard-files.ts';

test('each image of a shard has a row or a reason; the digest is that of its ids in order', () => {
  const digest = sha256('a\nb\nc\n');
  expect(proveShard({ list: ['a', 'b', 'c'], features: ['c', 'a'], rejected: ['b'] })).toBe(digest);
  expect(proveShard({ list: ['a', 'b', 'c'], features: [], rejected: ['a', 'b', 'c'] })).toBe(digest);
  expect(proveShard({ list: ['a', 'c', 'b'], features: ['a', 'b', 'c'], rejected: [] })).not.toBe(digest);
  expect(proveShard({ list: [], features: [], rejected: [] })).toBe(sha256(''));
});

test.each<[string, WrittenShard, string]>([
  ['missing', { list: ['a', 'b'], features: ['a'], rejected: [] }, '1 in neither the features nor the rejected images (b)'],
  ['in the features but not in the shard', { list: ['a'], features: ['a', 'x'], rejected: [] }, '1 not in the shard (x)'],
  ['rejected but not in the shard', { list: ['a'], features: ['a'], rejected: ['x'] }, '1 not in the shard (x)'],
  ['twice in the features', { list: ['a'], features: ['a', 'a'], rejected: [] }, '1 twice in the features (a)'],
  ['rejected twice', { list: ['a'], features: [], rejected: ['a', 'a'] }, '1 twice in the rejected images (a)'],
  ['in both', { list: ['a'], features: ['a'], rejected: ['a'] }, '1 in the features and in the rejected images (a)'],
])('an id that is %s is named', (_, input, message) => {
  expect(() => proveShard(input)).toThrow(message);
});

test('all faults are counted, with five examples each', () => {
  const list = Array.from({ length: 20 }, (_, index) => `m${index}`);
  const failure = (() => {
    try {
      return proveShard({ list, features: ['x'], rejected: [] });
    } catch (error) {
      return error;
    }
  })();
  expect(failure).toMatchObject({
    code: 'corrupt_artifact',
    message: expect.stringContaining('1 not in the shard (x); 20 in neither the features nor the rejected images (m0, m1, m2, m3, m4)'),
    details: { missing: { count: 20, examples: ['m0', 'm1', 'm2', 'm3', 'm4'] }, unexpected: { count: 1, examples: ['x'] } },
  });
});

test('a partition of a shard is proven, and stops being one when any id is dropped, doubled or moved in', () => {
  const ids = fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(ids, fc.infiniteStream(fc.boolean()), fc.nat(), (list, coins, nat) => {
      const isGood = new Map(list.map((id) => [id, coins.next().value === true]));
      const features = list.filter((id) => isGood.get(id));
      const rejected = list.filter((id) => !isGood.get(id));
      expect(proveShard({ list, features, rejected })).toBe(sha256(list.map((id) => `${id}\n`).join('')));
      const victim = list[nat % list.length] as string;
      expect(() =>
        proveShard({ list, features: features.filter((id) => id !== victim), rejected: rejected.filter((id) => id !== victim) }),
      ).toThrow();
      expect(() => proveShard({ list, features: [...features, victim], rejected })).toThrow();
      expect(() => proveShard({ list, features, rejected: [...rejected, victim] })).toThrow();
    }),
  );
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createTopList } from './top-list.ts';

test('the best k are kept, equal scores by the lower row, in whatever order they come', () => {
  // Few different scores, so that many are equal.
  const scores = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 40 });
  fc.assert(
    fc.property(scores, fc.integer({ min: 1, max: 12 }), fc.infiniteStream(fc.nat()), (values, k, draws) => {
      const items = values.map((score, row) => ({ score, row }));
      const shuffled = items.map((item) => ({ item, key: draws.next().value ?? 0 })).sort((a, b) => a.key - b.key);
      const list = createTopList(k);
      for (const { item } of shuffled) list.add(item.score, item.row);
      const expected = items.sort((a, b) => b.score - a.score || a.row - b.row).slice(0, k);
      expect([...list.rows]).toEqual(expected.map(({ row }) => row));
      expect([...list.scores]).toEqual(expected.map(({ score }) => score));
      expect(list.least()).toBe(items.length < k ? Number.NEGATIVE_INFINITY : (expected[k - 1]?.score ?? 0));
    }),
  );
});

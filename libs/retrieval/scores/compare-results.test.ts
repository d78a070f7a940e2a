import { seededRandom } from '@cairn/testing';
import { expect, test } from 'vitest';
import { compareResults, type NamedScores } from './compare-results.ts';

const gallery = { digest: 'a'.repeat(64), rows: 9 };

/** Scores that are drawn from 0 to 1; every third query is Public. */
function drawn(count: number, seed: number, over: Partial<NamedScores> = {}): NamedScores {
  const next = seededRandom(seed);
  const queries = Array.from({ length: count }, (_, at): NamedScores['queries'][number] => ({
    queryId: `q${at}`,
    usage: at % 3 === 0 ? 'Public' : 'Private',
    averagePrecision: next(),
    averagePrecisionReference: null,
    groundTruths: 1,
    hits: 1,
    firstHit: 1,
    firstWrong: null,
    continent: null,
    hitsAt: null,
  }));
  return { name: `drawn-${seed}`, queries, gallery, groundTruthDigest: `of ${count}`, ...over };
}

/** The same queries, with another average precision for some. */
const changed = (scores: NamedScores, change: (value: number, at: number) => number): NamedScores => ({
  ...scores,
  queries: scores.queries.map((query, at) => ({ ...query, averagePrecision: change(query.averagePrecision, at) })),
});
const reversed = (scores: NamedScores): NamedScores => ({ ...scores, queries: scores.queries.toReversed() });

const options = { samples: 2000, seed: 1, show: 1 };

test('queries are compared in pairs, each usage apart, with those that changed most', async () => {
  const a = drawn(30, 1);
  const b = changed(a, (value, at) => value + ({ 4: -0.3, 6: 0.6, 7: 0.1 }[at] ?? 0));
  const comparison = await compareResults(a, reversed(b), options);
  expect(comparison).toMatchObject({
    better: 2,
    worse: 1,
    equal: 27,
    public: { queries: 10 },
    private: { queries: 20 },
    isGalleryKnown: true,
  });
  expect(comparison.all?.difference).toBeCloseTo(0.4 / 30, 12);
  expect(comparison.public?.difference).toBeCloseTo(0.06, 12);
  expect(comparison.private?.difference).toBeCloseTo(-0.01, 12);
  expect([comparison.gained, comparison.lost].map((some) => some.map(({ queryId }) => queryId))).toEqual([['q6'], ['q4']]);
  // With random signs the sum of 0.3, 0.6 and 0.1 is +-1, +-0.8, +-0.4 or +-0.2: in 6 of 8 cases at least as far from 0 as 0.4.
  expect(comparison.all?.p).toBeCloseTo(0.75, 1);
});

test('the interval is that of the mean of the differences, and what is hard for both does not widen it', async () => {
  const a = drawn(400, 1);
  const noise = drawn(400, 2);
  const b = changed(a, (value, at) => value + 0.1 * ((noise.queries[at]?.averagePrecision ?? 0) - 0.4));
  const { all } = await compareResults(a, b, options);
  // Uniform on 0..0.1: a standard deviation of 0.1 / sqrt(12), by sqrt(400); 95 % lie within 1.96 of them.
  const half = (1.96 * 0.1) / Math.sqrt(12) / 20;
  expect(((all?.high ?? 0) - (all?.low ?? 0)) / 2 / half).toBeGreaterThan(0.85);
  expect(((all?.high ?? 0) - (all?.low ?? 0)) / 2 / half).toBeLessThan(1.15);
  expect(all?.low).toBeLessThan(all?.difference ?? 0);
  expect(all?.high).toBeGreaterThan(all?.difference ?? 0);
  // A mean of 0.01 is about 7 standard errors from zero.
  expect(all?.p).toBe(1 / 2001);
});

test('one seed gives one result, however the rows lie; another seed another', async () => {
  const [a, b] = [drawn(50, 1), drawn(50, 2)];
  const expected = await compareResults(a, b, options);
  expect(await compareResults(reversed(a), b, options)).toEqual(expected);
  expect((await compareResults(a, b, { ...options, seed: 2 })).all?.low).not.toBe(expected.all?.low);
});

test('results of other galleries, queries or ground truths are refused with what differs', async () => {
  const [a, b] = [drawn(5, 1), drawn(6, 2)];
  const refusal = (one: NamedScores, other: NamedScores) =>
    expect(
      compareResults(one, other, options).then(
        () => 'compared',
        (error: Error) => error.message,
      ),
    ).resolves;
  await refusal(a, b).toBe('drawn-1 and drawn-2 cannot be compared: only drawn-2 has the query q5');
  await refusal(b, a).toBe('drawn-2 and drawn-1 cannot be compared: only drawn-2 has the query q5');
  await refusal(a, { ...a, groundTruthDigest: 'other' }).toMatch(/have the same queries, but other ground truths or usages$/);
  await refusal(a, { ...a, gallery: { digest: 'b'.repeat(64), rows: 8 } }).toMatch(
    /: they searched different galleries, a{16} \(9 images\) and b{16} \(8 images\)$/,
  );
  expect(await compareResults(a, { ...a, gallery: null }, options)).toMatchObject({ isGalleryKnown: false, equal: 5, all: { p: 1 } });
});

test('without queries there is nothing to compare', async () => {
  expect(await compareResults(drawn(0, 1), drawn(0, 2), options)).toMatchObject({ all: null, public: null, private: null, gained: [] });
});

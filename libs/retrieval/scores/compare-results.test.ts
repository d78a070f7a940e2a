import { seededRandom } from '@cairn/testing';
import { expect, test } from 'vitest';
import { compareResults } from './compare-results.ts';
import type { QueryResult } from './scores-file.ts';

function drawn(count: number, seed: number): QueryResult[] {
  const next = seededRandom(seed);
  return Array.from({ length: count }, (_, at) => ({
    queryId: `q${at}`,
    usage: at % 3 === 0 ? 'Public' : 'Private',
    averagePrecision: next(),
  }));
}

const options = { samples: 2000, seed: 1 };

test('queries are compared in pairs, each usage apart', () => {
  const a = drawn(30, 1);
  const b = a
    .map((result, at) => ({ ...result, averagePrecision: result.averagePrecision + (at === 4 ? -0.3 : at === 6 ? 0.6 : 0) }))
    .reverse();
  const comparison = compareResults(a, b, options);
  expect(comparison).toMatchObject({ better: 1, worse: 1, equal: 28, public: { queries: 10 }, private: { queries: 20 } });
  expect(comparison.all?.difference).toBeCloseTo(0.3 / 30, 12);
  expect(comparison.public?.difference).toBeCloseTo(0.06, 12);
  expect(comparison.private?.difference).toBeCloseTo(-0.015, 12);
  expect([comparison.perQuery[0]?.queryId, comparison.perQuery.at(-1)?.queryId]).toEqual(['q6', 'q4']);
});

test('the interval is that of the mean of the differences, and what is hard for both does not widen it', () => {
  const a = drawn(400, 1);
  const noise = drawn(400, 2);
  const b = a.map((result, at) => ({
    ...result,
    averagePrecision: result.averagePrecision + 0.1 * ((noise[at]?.averagePrecision ?? 0) - 0.4),
  }));
  const { all } = compareResults(a, b, options);
  // Uniform on 0..0.1: a standard deviation of 0.1 / sqrt(12), by sqrt(400); 95 % lie within 1.96 of them.
  const half = (1.96 * 0.1) / Math.sqrt(12) / 20;
  expect(((all?.high ?? 0) - (all?.low ?? 0)) / 2 / half).toBeGreaterThan(0.85);
  expect(((all?.high ?? 0) - (all?.low ?? 0)) / 2 / half).toBeLessThan(1.15);
  expect(all?.low).toBeLessThan(all?.difference ?? 0);
  expect(all?.high).toBeGreaterThan(all?.difference ?? 0);
});

test('one seed gives one result, however the rows lie; another seed another', () => {
  const [a, b] = [drawn(50, 1), drawn(50, 2)];
  const expected = compareResults(a, b, options);
  expect(compareResults(a.toReversed(), b, options)).toEqual(expected);
  expect(compareResults(a, b, { ...options, seed: 2 }).all?.low).not.toBe(expected.all?.low);
});

test('results of other queries are refused', () => {
  const [a, b] = [drawn(5, 1), drawn(6, 1)];
  expect(() => compareResults(a, b, options)).toThrow('the query q5 is only in the second');
  expect(() => compareResults(b, a, options)).toThrow('the query q5 is only in the first');
  const moved = a.map((result): QueryResult => ({ ...result, usage: 'Public' }));
  expect(() => compareResults(a, moved, options)).toThrow('the query q1 is Private in the first, Public in the second');
});

test('without queries there is nothing to compare', () => {
  expect(compareResults([], [], options)).toMatchObject({ all: null, public: null, private: null, perQuery: [] });
});

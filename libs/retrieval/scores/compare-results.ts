import { CairnError } from '@cairn/contract';
import type { QueryResult } from './scores-file.ts';

export type ComparedMeans = {
  queries: number;
  /** mAP@100 of both by Kaggle's formula, 0 to 1, and the second's minus the first's. */
  a: number;
  b: number;
  difference: number;
  /** Where 95 % of the resampled differences lie. */
  low: number;
  high: number;
};

export type Comparison = {
  /** Null where no query is of that usage. */
  all: ComparedMeans | null;
  public: ComparedMeans | null;
  private: ComparedMeans | null;
  /** Numbers of queries with a better, worse and equal second result. */
  better: number;
  worse: number;
  equal: number;
  /** By query; the greatest gain first. */
  perQuery: { queryId: string; usage: 'Public' | 'Private'; a: number; b: number; difference: number }[];
  samples: number;
  seed: number;
};

export type CompareOptions = { samples: number; seed: number };

/**
 * Compares two results of the same queries. The interval is a paired bootstrap: queries are drawn with replacement, each with both its values, so that
 * what makes a query hard for both does not widen it (Efron and Tibshirani, An Introduction to the Bootstrap, percentile interval). One seed, one result.
 * Throws `bad_row` where the queries or their usages differ.
 */
export function compareResults(a: readonly QueryResult[], b: readonly QueryResult[], { samples, seed }: CompareOptions): Comparison {
  const second = new Map(b.map((result) => [result.queryId, result]));
  const perQuery = a.map(({ queryId, usage, averagePrecision }) => {
    const other = second.get(queryId);
    if (other === undefined) throw different(`the query ${queryId} is only in the first`);
    if (other.usage !== usage) throw different(`the query ${queryId} is ${usage} in the first, ${other.usage} in the second`);
    second.delete(queryId);
    return { queryId, usage, a: averagePrecision, b: other.averagePrecision, difference: other.averagePrecision - averagePrecision };
  });
  for (const queryId of second.keys()) throw different(`the query ${queryId} is only in the second`);
  // Sorted by id first, so the draws do not depend on the order of rows.
  perQuery.sort((x, y) => (x.queryId < y.queryId ? -1 : 1));
  const of = (usage: QueryResult['usage']) => perQuery.filter((one) => one.usage === usage);
  const compare = (queries: typeof perQuery) => comparedMeans(queries, samples, seed);
  const counted = (isSo: (difference: number) => boolean) => perQuery.filter(({ difference }) => isSo(difference)).length;
  return {
    all: compare(perQuery),
    public: compare(of('Public')),
    private: compare(of('Private')),
    better: counted((difference) => difference > 0),
    worse: counted((difference) => difference < 0),
    equal: counted((difference) => difference === 0),
    perQuery: perQuery.toSorted((x, y) => y.difference - x.difference),
    samples,
    seed,
  };
}

function different(what: string): CairnError {
  return new CairnError('bad_row', `The two results are not of the same queries: ${what}.`, {
    details: { remedy: 'Score both with the same solution.' },
  });
}

function comparedMeans(queries: readonly { a: number; b: number; difference: number }[], samples: number, seed: number) {
  if (queries.length === 0) return null;
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const differences = queries.map(({ difference }) => difference);
  const draw = randomBelow(queries.length, seed);
  const means = Float64Array.from({ length: samples }, () => {
    let sum = 0;
    for (let count = 0; count < queries.length; count++) sum += differences[draw()] as number;
    return sum / queries.length;
  }).sort();
  const quantile = (share: number): number => means[Math.min(samples - 1, Math.floor(share * samples))] as number;
  return {
    queries: queries.length,
    a: mean(queries.map(({ a }) => a)),
    b: mean(queries.map(({ b }) => b)),
    difference: mean(differences),
    low: quantile(0.025),
    high: quantile(0.975),
  };
}

/** Whole numbers from 0 on, by a seed: mulberry32 (Tommy Ettinger, public domain). */
function randomBelow(most: number, seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * most);
  };
}

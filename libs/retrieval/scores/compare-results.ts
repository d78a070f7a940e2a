import { type BootstrapSettings, CairnError, type ComparedMeans, type Comparison, maxShownQueries, type QueryScore } from '@cairn/contract';
import { bootstrapOf, intervalOf, permutationTest, type Resampling } from './bootstrap.ts';
import type { ScoredQueries } from './scores-file.ts';

/** Scores by query, and how messages call them. */
export type NamedScores = ScoredQueries & { name: string };

export type CompareOptions = Resampling & {
  /** Changed queries on each side. */
  show: number;
};

/**
 * Compares two results of the same queries in the same gallery. The interval is a paired bootstrap: queries are drawn with replacement, each with both
 * its values, so that what makes a query hard for both does not widen it; the p-value is of a paired permutation test. One seed, one result.
 * Throws `not_comparable` where galleries or ground truths are known to differ.
 */
export async function compareResults(a: NamedScores, b: NamedScores, { show, signal, ...resampling }: CompareOptions): Promise<Comparison> {
  requireComparable(a, b);
  const perQuery = changesOf(a.queries, b.queries, byKaggle);
  const bootstrap = bootstrapOf(perQuery.length, resampling);
  const compare = async (usage: QueryScore['usage'] | null): Promise<ComparedMeans | null> => {
    const queries = perQuery.filter((query) => usage === null || query.usage === usage);
    const means = await comparedMeans(queries, bootstrap, signal);
    return means && { ...means, p: await permutationTest(differencesOf(queries), bootstrap, signal) };
  };
  const [gained, lost] = [perQuery.filter(({ difference }) => difference > 0), perQuery.filter(({ difference }) => difference < 0)];
  const most = Math.min(show, maxShownQueries);
  return {
    all: await compare(null),
    public: await compare('Public'),
    private: await compare('Private'),
    better: gained.length,
    worse: lost.length,
    equal: perQuery.length - gained.length - lost.length,
    gained: gained.toSorted((x, y) => y.difference - x.difference).slice(0, most),
    lost: lost.toSorted((x, y) => x.difference - y.difference).slice(0, most),
    isGalleryKnown: a.gallery !== null && b.gallery !== null,
    bootstrap,
  };
}

/** The value of a query for a mean; null leaves it out. */
export type ScoreOf = (query: QueryScore) => number | null;
const byKaggle: ScoreOf = ({ averagePrecision }) => averagePrecision;

export type ComparedScore = Omit<ComparedMeans, 'p'> & { lost: { queryId: string; a: number; b: number }[] };

/**
 * Compares one score over some queries: `isIn` is asked about the queries of `b`. Null where none of them has the score in both. As
 * {@link compareResults}, with the `show` queries that lost most.
 */
export async function compareScore(
  a: NamedScores,
  b: NamedScores,
  { scoreOf, isIn, show, signal }: { scoreOf: ScoreOf; isIn: (query: QueryScore) => boolean; show: number; signal?: AbortSignal },
): Promise<ComparedScore | null> {
  requireComparable(a, b);
  const compared = new Set(b.queries.filter(isIn).map(({ queryId }) => queryId));
  const queries = changesOf(a.queries, b.queries, scoreOf).filter(({ queryId }) => compared.has(queryId));
  const means = await comparedMeans(queries, bootstrapOf(queries.length), signal);
  const lost = queries.filter(({ difference }) => difference < 0).sort((x, y) => x.difference - y.difference);
  return means && { ...means, lost: lost.slice(0, show).map(({ queryId, ...both }) => ({ queryId, a: both.a, b: both.b })) };
}

type Change = { queryId: string; usage: QueryScore['usage']; a: number; b: number; difference: number };

const differencesOf = (queries: readonly Change[]): Float64Array => Float64Array.from(queries, ({ difference }) => difference);

async function comparedMeans(queries: readonly Change[], bootstrap: BootstrapSettings, signal?: AbortSignal) {
  const interval = await intervalOf(differencesOf(queries), bootstrap, signal);
  if (interval === null) return null;
  const mean = (of: (query: Change) => number) => queries.reduce((sum, query) => sum + of(query), 0) / queries.length;
  return {
    queries: queries.length,
    a: mean((query) => query.a),
    b: mean((query) => query.b),
    difference: mean((query) => query.difference),
    ...interval,
  };
}

/** Each query with both values, sorted by id, so that no draw depends on the order of rows. */
function changesOf(a: readonly QueryScore[], b: readonly QueryScore[], scoreOf: ScoreOf): Change[] {
  const second = new Map(b.map((query) => [query.queryId, scoreOf(query)]));
  return a
    .flatMap((query): Change[] => {
      const [value, other] = [scoreOf(query), second.get(query.queryId) ?? null];
      return value === null || other === null
        ? []
        : [{ queryId: query.queryId, usage: query.usage, a: value, b: other, difference: other - value }];
    })
    .sort((x, y) => (x.queryId < y.queryId ? -1 : 1));
}

/** Throws `not_comparable`, saying what differs, unless both are of the same queries, ground truths and, as far as known, gallery. */
export function requireComparable(a: NamedScores, b: NamedScores): void {
  const refuse = (what: string, remedy: string) =>
    new CairnError('not_comparable', `${a.name} and ${b.name} cannot be compared: ${what}`, { details: { remedy } });
  if (a.gallery !== null && b.gallery !== null && a.gallery.digest !== b.gallery.digest) {
    const [first, second] = [a.gallery, b.gallery].map(({ digest, rows }) => `${digest.slice(0, 16)} (${rows} images)`);
    throw refuse(
      `they searched different galleries, ${first} and ${second}`,
      'Search the same index with both: the same version of the dataset, the same list, and the same images rejected as unreadable.',
    );
  }
  if (a.groundTruthDigest === b.groundTruthDigest) return;
  const remedy = 'Score both with the same retrieval_solution_v2.1.csv.';
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const known = new Set(other.queries.map(({ queryId }) => queryId));
    const alone = one.queries.filter(({ queryId }) => !known.has(queryId)).map(({ queryId }) => queryId);
    if (alone.length === 0) continue;
    const examples = `${alone.slice(0, 3).join(', ')}${alone.length > 3 ? ', ...' : ''}`;
    throw refuse(`only ${one.name} has the ${alone.length === 1 ? 'query' : `${alone.length} queries`} ${examples}`, remedy);
  }
  throw refuse('they have the same queries, but other ground truths or usages', remedy);
}

/** The mean of a score over some queries, with its 95 % interval of a bootstrap; null where none has it. */
export async function meanWithInterval(
  queries: readonly QueryScore[],
  scoreOf: ScoreOf,
  signal?: AbortSignal,
): Promise<{ queries: number; mean: number; low: number; high: number } | null> {
  const values = queries.toSorted((a, b) => (a.queryId < b.queryId ? -1 : 1)).flatMap((query) => scoreOf(query) ?? []);
  const interval = await intervalOf(Float64Array.from(values), bootstrapOf(values.length), signal);
  return interval && { queries: values.length, mean: values.reduce((sum, value) => sum + value, 0) / values.length, ...interval };
}

import { CairnError, type ComparedMeans, type Comparison, maxShownQueries, type QueryScore } from '@cairn/contract';
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
  const perQuery = changesOf(a.queries, b.queries);
  const bootstrap = bootstrapOf(perQuery.length, resampling);
  const compare = async (usage: QueryScore['usage'] | null): Promise<ComparedMeans | null> => {
    const queries = perQuery.filter((query) => usage === null || query.usage === usage);
    const differences = Float64Array.from(queries, ({ difference }) => difference);
    const interval = await intervalOf(differences, bootstrap, signal);
    if (interval === null) return null;
    const mean = (of: (query: (typeof queries)[number]) => number) => queries.reduce((sum, query) => sum + of(query), 0) / queries.length;
    return {
      queries: queries.length,
      a: mean((query) => query.a),
      b: mean((query) => query.b),
      difference: mean((query) => query.difference),
      ...interval,
      p: await permutationTest(differences, bootstrap, signal),
    };
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

/** Each query with both average precisions, sorted by id, so that no draw depends on the order of rows. */
function changesOf(a: readonly QueryScore[], b: readonly QueryScore[]) {
  const second = new Map(b.map(({ queryId, averagePrecision }) => [queryId, averagePrecision]));
  return a
    .map(({ queryId, usage, averagePrecision }) => {
      const other = second.get(queryId) ?? 0;
      return { queryId, usage, a: averagePrecision, b: other, difference: other - averagePrecision };
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

/** The mAP of the queries of a usage, with its 95 % interval of a bootstrap; null without queries. */
export async function meanWithInterval(
  queries: readonly QueryScore[],
  usage: 'all' | 'public' | 'private',
  signal?: AbortSignal,
): Promise<{ queries: number; mean: number; low: number; high: number } | null> {
  const values = queries
    .filter((query) => usage === 'all' || query.usage.toLowerCase() === usage)
    .sort((a, b) => (a.queryId < b.queryId ? -1 : 1))
    .map(({ averagePrecision }) => averagePrecision);
  const interval = await intervalOf(Float64Array.from(values), bootstrapOf(values.length), signal);
  return interval && { queries: values.length, mean: values.reduce((sum, value) => sum + value, 0) / values.length, ...interval };
}

import { distributionSteps, type QueryScoreRow, type QueryScoresQuery } from '@cairn/contract';
import type { NamedScores } from '@cairn/retrieval/scores';

/** Counts averages by their size, in {@link distributionSteps} equal steps. */
export function countByStep(averages: readonly (number | null)[]): number[] {
  const counts = Array.from({ length: distributionSteps }, () => 0);
  for (const average of averages) {
    if (average === null) continue;
    const step = Math.min(distributionSteps - 1, Math.floor(average * distributionSteps));
    counts[step] = (counts[step] ?? 0) + 1;
  }
  return counts;
}

type Order = QueryScoresQuery['sort'];
const byId = (a: QueryScoreRow, b: QueryScoreRow): number => (a.queryId < b.queryId ? -1 : 1);
const gainOf = ({ difference }: QueryScoreRow): number => difference ?? 0;
const orders: Record<Order, (a: QueryScoreRow, b: QueryScoreRow) => number> = {
  worst: (a, b) => a.averagePrecision - b.averagePrecision,
  best: (a, b) => b.averagePrecision - a.averagePrecision,
  gained: (a, b) => gainOf(b) - gainOf(a),
  lost: (a, b) => gainOf(a) - gainOf(b),
  changed: (a, b) => Math.abs(gainOf(b)) - Math.abs(gainOf(a)),
  id: byId,
};

/** Queries in order, each with its score in `against`, if that is given. Equal ones are ordered by id, so that pages neither repeat nor skip one. */
export function orderQueries(
  { queries }: NamedScores,
  against: NamedScores | null,
  { sort, usage }: Pick<QueryScoresQuery, 'sort' | 'usage'>,
): QueryScoreRow[] {
  const earlier = new Map(against?.queries.map(({ queryId, averagePrecision }) => [queryId, averagePrecision]));
  return queries
    .filter((query) => usage === undefined || query.usage === usage)
    .map((query): QueryScoreRow => {
      const before = earlier.get(query.queryId) ?? null;
      return { ...query, before, difference: before === null ? null : query.averagePrecision - before };
    })
    .sort((a, b) => orders[sort](a, b) || byId(a, b));
}

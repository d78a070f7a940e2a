import type { QueryScoreRow, QueryScoresQuery } from '@cairn/contract';
import type { NamedScores } from '@cairn/retrieval/scores';

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

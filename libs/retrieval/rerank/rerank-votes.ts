import type { VotingConstants } from '@cairn/contract';
import { createTopList } from '../search/top-list.ts';
import { expandedSet, meanOverFirst, type Ranks } from './reciprocal-sets.ts';
import { jaccardSimilarity, overlapOf, type SparseRow, weightedRow } from './sparse-rows.ts';

/** A reference that votes: its number among those that were compared, and its reranked similarity to the query, 0 to 1. */
export type Vote = { reference: number; similarity: number };

/**
 * The references that are nearest to a query by the reference's kr_rerank_fast: 1 - (lambda d + (1 - lambda) J), d the cosine distance scaled to
 * 0..1, J the Jaccard distance of their k-reciprocal sets.
 *
 * @param cosines of the query and n - 1 references with each other, n x n; the query comes first, the references in the order of their list
 * @returns the best first; equal ones in the order of the list
 */
export function rerankVotes(
  cosines: Float64Array,
  n: number,
  { votes, k1, k2, voteLambda }: Omit<VotingConstants, 'voteNeighbours'>,
): Vote[] {
  const ranks = rank(cosines, n, Math.max(k1 + 1, k2));
  const distance = (a: number, b: number): number => cosineDistance(cosines[a * n + b] as number);
  const own: (SparseRow | undefined)[] = [];
  const ownRow = (item: number): SparseRow => {
    own[item] ??= rowOf(item);
    return own[item];
  };
  const rowOf = (item: number): SparseRow => {
    const columns = expandedSet(ranks, item, k1);
    return weightedRow(
      columns,
      columns.map((column) => distance(item, column)),
    );
  };
  const meanOf = (item: number): SparseRow => meanOverFirst(ranks, item, k2, ownRow);

  const query = meanOf(0);
  const best = createTopList(Math.min(votes, n - 1));
  for (let item = 1; item < n; item++) {
    const jaccard = 1 - jaccardSimilarity(overlapOf(query, meanOf(item)));
    best.add(1 - (voteLambda * distance(0, item) + (1 - voteLambda) * jaccard), item);
  }
  return Array.from(best.rows, (item, at) => ({ reference: item - 1, similarity: best.scores[at] as number }));
}

/** The cosine as a distance from 0 to 1. */
export function cosineDistance(cosine: number): number {
  return 1 - (cosine + 1) / 2;
}

function rank(cosines: Float64Array, n: number, wanted: number): Ranks {
  const width = Math.min(wanted, n);
  const items = new Int32Array(n * width);
  for (let item = 0; item < n; item++) {
    const list = createTopList(width);
    let least = Number.NEGATIVE_INFINITY;
    for (let other = 0; other < n; other++) {
      const cosine = cosines[item * n + other] as number;
      // In the order of the rows an equal one never comes in.
      if (cosine <= least) continue;
      list.add(cosine, other);
      least = list.least();
    }
    items.set(list.rows, item * width);
  }
  return { width, items };
}

import type { Features } from '../features/read-features.ts';
import { innerProduct } from '../search/candidates.ts';

export type RankListedOptions = {
  index: Features;
  /** Each query's vector, and the rows of the index whose ranks are wanted. */
  asked: readonly { vector: Float32Array; rows: readonly number[] }[];
  /** Rows that are not searched, by their id. */
  isLeftOut(id: string): boolean;
  blockRows: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { rows: number; total: number }) => void) | undefined;
};

type Listed = { row: number; id: string; score: number };

/**
 * The ranks, from 0, of a few rows of each query in the search of a whole index, by inner product in float64, equal ones by id: what a full
 * sort would give, without holding more than a block. The result is a map from row to rank for each query.
 */
export async function rankListed(options: RankListedOptions): Promise<ReadonlyMap<number, number>[]> {
  const { index, asked, isLeftOut, blockRows, signal, onProgress } = options;
  const { dim } = index;
  const lists = asked.map(({ rows }) => rows.map((row): Listed => ({ row, id: index.ids.at(row) ?? '', score: 0 })));
  // First the similarities of the listed rows themselves.
  const wanted = [...new Set(asked.flatMap(({ rows }) => rows))].sort((a, b) => a - b);
  for (const row of wanted) {
    const vector = await index.read(row, 1);
    lists.forEach((list, query) => {
      for (const one of list) if (one.row === row) one.score = innerProduct(asked[query]?.vector ?? vector, vector, 0);
    });
  }
  for (const list of lists) list.sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1));
  // Then how many rows come just before each of them: every row counts for the first listed one that it precedes.
  const before = lists.map((list) => new Int32Array(list.length + 1));
  for (let first = 0; first < index.ids.length; first += blockRows) {
    const block = await index.read(first, blockRows);
    for (let row = 0; row < block.length / dim; row++) {
      signal?.throwIfAborted();
      const id = index.ids.at(first + row) ?? '';
      if (isLeftOut(id)) continue;
      for (const [query, list] of lists.entries()) {
        const { vector } = asked[query] as (typeof asked)[number];
        const counts = before[query] as Int32Array;
        const place = placeIn(list, innerProduct(vector, block, row * dim), id);
        counts[place] = (counts[place] ?? 0) + 1;
      }
    }
    onProgress?.({ rows: Math.min(index.ids.length, first + blockRows), total: index.ids.length });
  }
  return lists.map((list, query) => {
    let passed = 0;
    // A listed row is found at its own place too, so what was counted there is one more than its rank.
    return new Map(
      list.map(({ row, id }, at) => {
        passed += before[query]?.[at] ?? 0;
        return [row, isLeftOut(id) ? passed : passed - 1];
      }),
    );
  });
}

/** The first listed row that a row with this similarity and id precedes or is; the list's length if it comes after all. */
function placeIn(list: readonly Listed[], score: number, id: string): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const one = list[middle] as Listed;
    const isBefore = score > one.score || (score === one.score && id <= one.id);
    if (isBefore) high = middle;
    else low = middle + 1;
  }
  return low;
}

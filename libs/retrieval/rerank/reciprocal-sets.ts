import { meanRow, type SparseRow } from './sparse-rows.ts';

/** The nearest items of every item, itself among them, the best first: items x width. */
export type Ranks = { width: number; items: Int32Array };

/** The first `count` of an item that have it among their own first `count`, the best first. */
function reciprocalOf(ranks: Ranks, item: number, count: number): number[] {
  const mutual: number[] = [];
  const from = item * ranks.width;
  for (let rank = 0; rank < Math.min(count, ranks.width); rank++) {
    const other = ranks.items[from + rank] as number;
    if (isAmongFirst(ranks, other, item, count)) mutual.push(other);
  }
  return mutual;
}

function isAmongFirst({ items, width }: Ranks, item: number, sought: number, count: number): boolean {
  const from = item * width;
  for (let rank = 0; rank < Math.min(count, width); rank++) if (items[from + rank] === sought) return true;
  return false;
}

/**
 * The k-reciprocal set R*(item, k1) of Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017, equation 2),
 * ascending: the item's mutual neighbours, and of each of them the mutual neighbours by half of k1 where more than two thirds of these are in the
 * item's own set, as it was before it grew. Empty where the item is not among its own first k1 + 1, as with more than k1 equal images before it.
 */
export function expandedSet(ranks: Ranks, item: number, k1: number): number[] {
  const own = reciprocalOf(ranks, item, k1 + 1);
  const isOwn = new Set(own);
  const expanded = new Set(own);
  for (const candidate of own) {
    const theirs = reciprocalOf(ranks, candidate, halfToEven(k1) + 1);
    const shared = theirs.filter((one) => isOwn.has(one)).length;
    if (shared * 3 > theirs.length * 2) for (const one of theirs) expanded.add(one);
  }
  return [...expanded].sort((a, b) => a - b);
}

/**
 * The mean of the rows of an item's first k2 (its local query expansion). With a k2 of 1 there is none, and the row is the item's own: its
 * nearest may be an equal image, or a longer vector.
 */
export function meanOverFirst({ width, items }: Ranks, item: number, k2: number, rowOf: (item: number) => SparseRow): SparseRow {
  if (k2 === 1) return rowOf(item);
  return meanRow(Array.from(items.subarray(item * width, item * width + Math.min(k2, width)), rowOf));
}

/** Half of a whole number, rounded as numpy's `around` does: 5 gives 2, 7 gives 4. */
function halfToEven(value: number): number {
  const half = Math.floor(value / 2);
  return value % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}

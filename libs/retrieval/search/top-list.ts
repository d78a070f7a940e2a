/** The `k` best of what was added, the best first. */
export type TopList = {
  /** The lowest score that is in the list, or -Infinity while it is not full. */
  least(): number;
  /** Adds a row unless k rows are better: by score, then by the lower row. */
  add(score: number, row: number): void;
  /** The rows and scores added so far, at most k. */
  readonly rows: Int32Array;
  readonly scores: Float64Array;
};

export function createTopList(k: number): TopList {
  const rows = new Int32Array(k);
  const scores = new Float64Array(k);
  let size = 0;

  function isBefore(score: number, row: number, place: number): boolean {
    const other = scores[place] as number;
    return score > other || (score === other && row < (rows[place] as number));
  }

  return {
    least: () => (size < k ? Number.NEGATIVE_INFINITY : (scores[k - 1] as number)),
    add(score, row) {
      if (size === k && !isBefore(score, row, k - 1)) return;
      let low = 0;
      for (let high = size; low < high; ) {
        const middle = (low + high) >> 1;
        if (isBefore(score, row, middle)) high = middle;
        else low = middle + 1;
      }
      scores.copyWithin(low + 1, low, k - 1);
      rows.copyWithin(low + 1, low, k - 1);
      scores[low] = score;
      rows[low] = row;
      size = Math.min(k, size + 1);
    },
    get rows() {
      return rows.subarray(0, size);
    },
    get scores() {
      return scores.subarray(0, size);
    },
  };
}

/** A row of a matrix of which few values are not 0: its columns ascending, each once. */
export type SparseRow = { columns: ArrayLike<number>; values: ArrayLike<number> };

const emptyRow: SparseRow = { columns: [], values: [] };

/** The weights exp(-distance), divided by their sum; an empty row stays one. */
export function weightedRow(columns: readonly number[], distances: readonly number[]): SparseRow {
  if (columns.length === 0) return emptyRow;
  const weights = distances.map((distance) => Math.exp(-distance));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return { columns, values: weights.map((weight) => weight / sum) };
}

/** The mean of rows. */
export function meanRow(rows: readonly SparseRow[]): SparseRow {
  const [only] = rows;
  if (only !== undefined && rows.length === 1) return only;
  const sums = new Map<number, number>();
  for (const { columns, values } of rows) {
    for (let at = 0; at < columns.length; at++) {
      const column = columns[at] as number;
      sums.set(column, (sums.get(column) ?? 0) + (values[at] as number));
    }
  }
  const columns = [...sums.keys()].sort((a, b) => a - b);
  return { columns, values: columns.map((column) => (sums.get(column) ?? 0) / rows.length) };
}

/** The sum over the columns of the minimum of two rows. */
export function overlapOf(a: SparseRow, b: SparseRow): number {
  let sum = 0;
  for (let left = 0, right = 0; left < a.columns.length && right < b.columns.length; ) {
    const [column, other] = [a.columns[left] as number, b.columns[right] as number];
    if (column === other) sum += Math.min(a.values[left] as number, b.values[right] as number);
    if (column <= other) left += 1;
    if (other <= column) right += 1;
  }
  return sum;
}

/** 1 - Jaccard's distance of two rows whose overlap is given; rows sum to 1 or are empty, so nothing is divided by 0. */
export function jaccardSimilarity(overlap: number): number {
  return overlap / (2 - overlap);
}

export type SparseRows = { set(item: number, row: SparseRow): void; get(item: number): SparseRow };

/** Rows of `count` items in a few large arrays: a million rows as objects would take several times the memory. */
export function createSparseRows(count: number): SparseRows {
  const starts = new Float64Array(count);
  const lengths = new Int32Array(count);
  let columns = new Int32Array(1024);
  let values = new Float64Array(1024);
  let used = 0;
  return {
    set(item, row) {
      const { length } = row.columns;
      if (used + length > columns.length) {
        const room = Math.max(used + length, columns.length * 2);
        const [before, beside] = [columns, values];
        columns = new Int32Array(room);
        values = new Float64Array(room);
        columns.set(before);
        values.set(beside);
      }
      columns.set(row.columns, used);
      values.set(row.values, used);
      starts[item] = used;
      lengths[item] = length;
      used += length;
    },
    get(item) {
      const start = starts[item] as number;
      const end = start + (lengths[item] as number);
      return { columns: columns.subarray(start, end), values: values.subarray(start, end) };
    },
  };
}

import { CairnError } from '@cairn/contract';
import { normalizeRow } from '../features/normalize-row.ts';
import type { SearchMeans } from './model-vectors.ts';
import { type PlacedVectors, readPlaces, writeVectors } from './placed-features.ts';

/** x becomes `components` (count x dim) times x, minus `offset` (count values). */
export type Whitening = { count: number; components: Float64Array; offset: Float64Array };

/** Vectors that are in memory at a time. */
const BLOCK_ROWS = 16_384;

/** Components with less than this share of the largest variance are rounding errors of vectors with fewer dimensions. */
const LEAST_VARIANCE = 1e-9;

/**
 * Learns a PCA whitening (Jégou and Chum, Negative evidences and co-occurences in image retrieval, ECCV 2012, section 3): the vectors' mean
 * is subtracted, they are projected onto the `count` directions of largest variance, or all if it is null, and each is divided by its
 * standard deviation. Sums are in the order of places, so the result does not depend on shards. Throws `invalid_setting` if the vectors
 * have fewer directions.
 */
export async function learnWhitening(vectors: PlacedVectors, count: number | null, means: SearchMeans): Promise<Whitening> {
  const { dim } = vectors;
  const total = vectors.rowOfPlace.length;
  const mean = new Float64Array(dim);
  const covariance = new Float64Array(dim * dim);
  for (let first = 0; first < total; first += BLOCK_ROWS) {
    const rows = Math.min(BLOCK_ROWS, total - first);
    const values = await readPlaces(
      vectors,
      Int32Array.from({ length: rows }, (_, at) => first + at),
      means.signal,
    );
    const transposed = new Float32Array(values.length);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < dim; column++) {
        const value = values[row * dim + column] as number;
        transposed[column * rows + row] = value;
        mean[column] = (mean[column] as number) + value / total;
      }
    }
    const squares = await means.products.of(transposed, transposed, rows);
    for (let at = 0; at < squares.length; at++) covariance[at] = (covariance[at] as number) + (squares[at] as number) / total;
    means.onProgress?.({ what: `${vectors.name}: learning a whitening`, done: first + rows, total });
  }
  for (let row = 0; row < dim; row++) {
    for (let column = 0; column < dim; column++) {
      const at = row * dim + column;
      covariance[at] = (covariance[at] as number) - (mean[row] as number) * (mean[column] as number);
    }
  }
  const eigen = symmetricEigen(covariance, dim);
  const least = (eigen.values[0] ?? 0) * LEAST_VARIANCE;
  const found = eigen.values.findIndex((value) => !(value > least));
  const directions = found === -1 ? dim : found;
  const kept = count ?? directions;
  if (kept > directions || kept < 1) {
    throw new CairnError('invalid_setting', `${vectors.name} vary in ${directions} directions, so they cannot be whitened to ${kept}.`, {
      details: { remedy: 'Whiten to fewer directions, or learn from more images.' },
    });
  }
  const components = eigen.vectors.slice(0, kept * dim);
  const offset = new Float64Array(kept);
  for (let component = 0; component < kept; component++) {
    const deviation = Math.sqrt(eigen.values[component] as number);
    for (let at = component * dim; at < (component + 1) * dim; at++) {
      components[at] = (components[at] as number) / deviation;
      offset[component] = (offset[component] as number) + (components[at] as number) * (mean[at - component * dim] as number);
    }
  }
  return { count: kept, components, offset };
}

/** The vectors after the whitening, at length one again and rounded to float16, in the file `path`. Throws `bad_row` for one that is the mean, `storage_full`. */
export async function whitenVectors(
  vectors: PlacedVectors,
  whitening: Whitening,
  means: SearchMeans,
  path: string,
): Promise<PlacedVectors> {
  const { count, components, offset } = whitening;
  return writeVectors(vectors, count, path, async (append) => {
    for (let first = 0; first < vectors.rows; first += BLOCK_ROWS) {
      means.signal?.throwIfAborted();
      const values = await vectors.read(first, BLOCK_ROWS);
      const turned = await means.products.of(values, components, vectors.dim);
      const whitened = new Float16Array(turned.length);
      for (let row = 0; row < turned.length / count; row++) {
        const [from, to] = [row * count, (row + 1) * count];
        const moved = Float32Array.from(turned.subarray(from, to), (value, at) => value - (offset[at] as number));
        if (!normalizeRow(moved, whitened.subarray(from, to))) {
          throw new CairnError('bad_row', `${vectors.name}: row ${first + row} has no direction after the whitening`);
        }
      }
      await append(whitened);
      means.onProgress?.({ what: `${vectors.name}: whitening`, done: Math.min(vectors.rows, first + BLOCK_ROWS), total: vectors.rows });
    }
  });
}

/** Of a symmetric matrix: its eigenvalues, the greatest first, and the eigenvectors of length one in rows of the same order. */
type Eigen = { values: Float64Array; vectors: Float64Array };

/** More than any matrix needs: a dozen are enough for float64 precision with 512 columns. */
const MOST_SWEEPS = 60;

/**
 * By cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, section 8.5): slow, half a minute for 512 columns on a busy core, and accurate.
 *
 * @param matrix n x n, of which the upper triangle counts
 */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const a = new Float64Array(matrix);
  const v = new Float64Array(n * n);
  for (let index = 0; index < n; index++) v[index * n + index] = 1;
  const total = a.reduce((sum, value) => sum + value * value, 0);
  for (let sweep = 0; sweep < MOST_SWEEPS && offDiagonal(a, n) > total * 1e-30; sweep++) {
    for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) rotate(a, v, n, p, q);
  }
  const order = Array.from({ length: n }, (_, index) => index).sort((x, y) => at(a, n, y, y) - at(a, n, x, x));
  const vectors = new Float64Array(n * n);
  for (const [row, index] of order.entries()) vectors.set(v.subarray(index * n, (index + 1) * n), row * n);
  return { values: Float64Array.from(order, (index) => at(a, n, index, index)), vectors };
}

function at(a: Float64Array, n: number, row: number, column: number): number {
  return a[row * n + column] as number;
}

function offDiagonal(a: Float64Array, n: number): number {
  let sum = 0;
  for (let row = 0; row < n; row++) for (let column = row + 1; column < n; column++) sum += 2 * at(a, n, row, column) ** 2;
  return sum;
}

/** Makes a[p][q] zero by a rotation of the rows and columns p and q; `v` keeps the product of all, an eigenvector a row. */
function rotate(a: Float64Array, v: Float64Array, n: number, p: number, q: number): void {
  const apq = at(a, n, p, q);
  if (apq === 0) return;
  const theta = (at(a, n, q, q) - at(a, n, p, p)) / (2 * apq);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  const [app, aqq] = [at(a, n, p, p), at(a, n, q, q)];
  for (let k = 0; k < n; k++) {
    const [vp, vq] = [at(v, n, p, k), at(v, n, q, k)];
    v[p * n + k] = c * vp - s * vq;
    v[q * n + k] = s * vp + c * vq;
    if (k === p || k === q) continue;
    // Only the upper triangle is kept.
    const [ip, iq] = [k < p ? k * n + p : p * n + k, k < q ? k * n + q : q * n + k];
    const [akp, akq] = [a[ip] as number, a[iq] as number];
    a[ip] = c * akp - s * akq;
    a[iq] = s * akp + c * akq;
  }
  a[p * n + p] = app - t * apq;
  a[q * n + q] = aqq + t * apq;
  a[p * n + q] = 0;
}

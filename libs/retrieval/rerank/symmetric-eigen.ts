/** Of a symmetric matrix: its eigenvalues, the greatest first, and the eigenvectors of length one in rows of the same order. */
export type Eigen = { values: Float64Array; vectors: Float64Array };

/** More than any matrix needs: a dozen bring one of 512 to the precision of float64. */
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
    // The upper triangle alone is kept.
    const [ip, iq] = [k < p ? k * n + p : p * n + k, k < q ? k * n + q : q * n + k];
    const [akp, akq] = [a[ip] as number, a[iq] as number];
    a[ip] = c * akp - s * akq;
    a[iq] = s * akp + c * akq;
  }
  a[p * n + p] = app - t * apq;
  a[q * n + q] = aqq + t * apq;
  a[p * n + q] = 0;
}

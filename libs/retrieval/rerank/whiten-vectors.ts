import { CairnError } from '@cairn/contract';
import { normalizeRow } from '../features/normalize-row.ts';
import type { SearchMeans } from './model-vectors.ts';
import { type PlacedVectors, readPlaces, writeVectors } from './placed-features.ts';
import { symmetricEigen } from './symmetric-eigen.ts';

/** x becomes `components` (count x dim) times x, less `offset` (count values). */
export type Whitening = { count: number; components: Float64Array; offset: Float64Array };

/** Vectors that are in memory at a time. */
const BLOCK_ROWS = 16_384;

/** Components with less than this part of the greatest variance are rounding errors of vectors that lie in fewer dimensions. */
const LEAST_VARIANCE = 1e-9;

/**
 * Learns a PCA whitening (Jégou and Chum, Negative evidences and co-occurences in image retrieval, ECCV 2012, section 3): the vectors' mean is taken off, they are
 * turned to the `count` directions of greatest variance, or to all where it is null, and each is divided by its standard deviation. The sums
 * go by place, so that shards change nothing. Throws `invalid_setting` where the vectors have fewer directions.
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
      details: { remedy: 'Whiten to fewer, or learn from more images.' },
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

import { normalizeRow } from '../features/normalize-row.ts';
import { findNeighbours, type Neighbours } from '../search/find-neighbours.ts';
import type { SearchMeans } from './model-vectors.ts';
import { gatherPlaces, type PlacedVectors, writeVectors } from './placed-features.ts';

export type Expansion = {
  /** Neighbours that are added to a vector. */
  neighbours: number;
  /** The power of the cosine that is the weight of each. */
  alpha: number;
};

export type ExpandOptions = {
  vectors: PlacedVectors;
  /** The set to search for neighbours; the same object as `vectors` if these are its own, which excludes each vector itself. */
  gallery: PlacedVectors;
  settings: Expansion;
  means: SearchMeans;
  /** The file for the expanded vectors, which take as much space as the features. */
  path: string;
};

/** Vectors whose neighbours are searched in one pass, and neighbour vectors in memory: both bound memory. */
const CHUNK_ROWS = 100_000;
const GROUP_NEIGHBOURS = 50_000;

/**
 * Adds to each vector its nearest ones in the gallery, each weighed with its cosine to the power of alpha, and takes the sum at length one:
 * alpha query expansion (Radenovic, Tolias and Chum, Fine-tuning CNN Image Retrieval with No Human Annotation, 2019, section 3.3), and on
 * the gallery itself database-side augmentation. A neighbour with a negative cosine is not added. The result is rounded to float16, like
 * features. Throws `storage_full`.
 */
export async function expandVectors({ vectors, gallery, settings, means, path }: ExpandOptions): Promise<PlacedVectors> {
  const { dim } = vectors;
  const { neighbours } = settings;
  const isOwn = vectors === gallery;
  return writeVectors(vectors, dim, path, async (append) => {
    for (let first = 0; first < vectors.rows; first += CHUNK_ROWS) {
      const values = await vectors.read(first, CHUNK_ROWS);
      const nearest = await findNeighbours({
        ...means,
        queries: { values, dim },
        gallery,
        places: gallery.places,
        topK: neighbours + (isOwn ? 1 : 0),
        onProgress: ({ rows, total }) =>
          means.onProgress?.({
            what: `${vectors.name}: neighbours to add`,
            done: first + Math.floor(((values.length / dim) * rows) / total),
            total: vectors.rows,
          }),
      });
      const groupRows = Math.max(1, Math.floor(GROUP_NEIGHBOURS / Math.max(1, nearest.k)));
      for (let row = 0; row < values.length / dim; row += groupRows) {
        means.signal?.throwIfAborted();
        const places = isOwn ? vectors.places.subarray(first + row, first + row + groupRows) : null;
        const found = {
          k: nearest.k,
          rows: nearest.rows.subarray(row * nearest.k, (row + groupRows) * nearest.k),
          scores: nearest.scores.subarray(row * nearest.k, (row + groupRows) * nearest.k),
        };
        const group = values.subarray(row * dim, (row + groupRows) * dim);
        const expanded = await addNeighbours(group, places, found, gallery, settings, means);
        await append(expanded);
      }
    }
  });
}

/** `places` are those of the vectors in the gallery, where they are its own. */
async function addNeighbours(
  values: Float32Array,
  places: Int32Array | null,
  { k, rows, scores }: Neighbours,
  gallery: PlacedVectors,
  { neighbours, alpha }: Expansion,
  means: SearchMeans,
): Promise<Float16Array> {
  const { dim } = gallery;
  const gathered = await gatherPlaces(gallery, rows, means.signal);
  const expanded = new Float16Array(values.length);
  for (let row = 0; row < values.length / dim; row++) {
    const sum = new Float64Array(values.subarray(row * dim, (row + 1) * dim));
    const others = Array.from({ length: k }, (_, rank) => row * k + rank).filter((at) => rows[at] !== places?.[row]);
    for (const at of others.slice(0, neighbours)) {
      const cosine = scores[at] as number;
      const weight = cosine > 0 ? cosine ** alpha : 0;
      const other = gathered.vectorOf(rows[at] as number);
      for (let index = 0; index < dim; index++) sum[index] = (sum[index] as number) + weight * (other[index] as number);
    }
    // The vector itself always contributes, so the sum is not zero.
    normalizeRow(new Float32Array(sum), expanded.subarray(row * dim, (row + 1) * dim));
  }
  return expanded;
}

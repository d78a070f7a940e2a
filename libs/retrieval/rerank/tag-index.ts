import { findNeighbours } from '../search/find-neighbours.ts';
import type { Category } from './category-boost.ts';
import type { SearchMeans } from './model-vectors.ts';
import type { PlacedVectors } from './placed-features.ts';
import { categoryAt } from './vote-on-queries.ts';

/** Index images that are compared with the references in one pass over these: 200 MB of vectors of 512 values. */
const CHUNK_ROWS = 100_000;

export type TagOptions = {
  index: PlacedVectors;
  references: PlacedVectors;
  categories: readonly Category[];
  means: SearchMeans;
  what: string;
};

/** What each index image shows, by place: the category of its nearest reference; of equally near ones that of the first. */
export async function tagIndex({ index, references, categories, means, what }: TagOptions): Promise<Category[]> {
  const { dim } = index;
  const tags: Category[] = new Array(index.rowOfPlace.length);
  for (let first = 0; first < index.rows; first += CHUNK_ROWS) {
    const values = await index.read(first, CHUNK_ROWS);
    const rows = values.length / dim;
    const { rows: nearest } = await findNeighbours({
      ...means,
      queries: { values, dim },
      gallery: references,
      places: references.places,
      topK: 1,
      onProgress: ({ rows: done, total }) =>
        means.onProgress?.({ what: `${what}: landmarks of the index`, done: first + Math.floor((rows * done) / total), total: index.rows }),
    });
    for (let row = 0; row < rows; row++) {
      const place = index.places[first + row] as number;
      if (place >= 0) tags[place] = categoryAt(categories, nearest[row]);
    }
  }
  return tags;
}

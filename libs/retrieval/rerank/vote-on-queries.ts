import { type PlacedVectors, readPlaces } from '../features/placed-features.ts';
import { findNeighbours } from '../search/find-neighbours.ts';
import type { Category, Shares } from './category-boost.ts';
import { sharesOf } from './category-boost.ts';
import type { SearchMeans } from './model-vectors.ts';
import type { RerankSettings } from './rerank-settings.ts';
import { rerankVotes } from './rerank-votes.ts';

/** Queries whose references are in memory together: 32 x 930 vectors of 512 values are 61 MB. */
const GROUP_QUERIES = 32;

export type VoteOptions = {
  /** In the order of their places: queries x dim. */
  queries: Float32Array<ArrayBuffer>;
  references: PlacedVectors;
  /** Of each reference, by place. */
  categories: readonly Category[];
  settings: RerankSettings;
  means: SearchMeans;
  what: string;
};

/**
 * The votes of each query for landmarks and countries: those of its best references, reranked among its nearest references and the nearest of
 * each of these. No other reference can come before them: its Jaccard distance is 1, and it is farther than all of the nearest.
 */
export async function voteOnQueries({ queries, references, categories, settings, means, what }: VoteOptions): Promise<Shares[]> {
  const { dim, places } = references;
  const { products, signal } = means;
  const count = queries.length / dim;
  const nearest = (values: Float32Array<ArrayBuffer>, told: string) =>
    findNeighbours({
      ...means,
      queries: { values, dim },
      gallery: references,
      places,
      topK: settings.voteNeighbours,
      onProgress: ({ rows, total }) => means.onProgress?.({ what: told, done: rows, total }),
    });
  const { k, rows: ofQueries } = await nearest(queries, `${what}: references of the queries`);
  const seeds = ascending(ofQueries);
  const { rows: ofSeeds } = await nearest(await readPlaces(references, seeds, signal), `${what}: references of these references`);
  const seedAt = positionsOf(seeds);

  const membersOf = (query: number): Int32Array => {
    const own = ofQueries.subarray(query * k, (query + 1) * k);
    const theirs = Array.from(own, (seed) => {
      const at = seedAt.get(seed) ?? 0;
      return ofSeeds.subarray(at * k, (at + 1) * k);
    });
    return ascending([own, ...theirs].flatMap((places) => [...places]));
  };

  const shares: Shares[] = [];
  for (let first = 0; first < count; first += GROUP_QUERIES) {
    signal?.throwIfAborted();
    const group = Array.from({ length: Math.min(GROUP_QUERIES, count - first) }, (_, at) => membersOf(first + at));
    const all = ascending(group.flatMap((members) => [...members]));
    const vectors = await readPlaces(references, all, signal);
    const position = positionsOf(all);
    for (const [at, members] of group.entries()) {
      const compared = new Float32Array((members.length + 1) * dim);
      compared.set(queries.subarray((first + at) * dim, (first + at + 1) * dim));
      for (const [member, place] of members.entries()) {
        const from = (position.get(place) ?? 0) * dim;
        compared.set(vectors.subarray(from, from + dim), (member + 1) * dim);
      }
      const cosines = await products.of(compared, compared, dim);
      const votes = rerankVotes(cosines, members.length + 1, settings);
      shares.push(sharesOf(votes.map(({ reference, similarity }) => ({ ...categoryAt(categories, members[reference]), similarity }))));
    }
    means.onProgress?.({ what: `${what}: votes`, done: shares.length, total: count });
  }
  return shares;
}

export function categoryAt(categories: readonly Category[], place: number | undefined): Category {
  const category = categories[place ?? -1];
  if (category === undefined) throw new RangeError(`No reference has the place ${place}`);
  return category;
}

/** Each number once. */
export function ascending(numbers: Iterable<number>): Int32Array {
  return Int32Array.from(new Set(numbers)).sort();
}

export function positionsOf(numbers: Int32Array): Map<number, number> {
  return new Map(Array.from(numbers, (number, at) => [number, at]));
}

import type { RerankSettings } from '@cairn/contract';
import { findNeighbours } from '../search/find-neighbours.ts';
import type { Category, Shares } from './category-boost.ts';
import { sharesOf } from './category-boost.ts';
import type { SearchMeans } from './model-vectors.ts';
import { ascending, gatherPlaces, type PlacedVectors, readPlaces } from './placed-features.ts';
import { rerankVotes } from './rerank-votes.ts';

/**
 * Queries for which the neighbours of their references are searched in one pass, and queries whose references are compared in memory: 123
 * MB and 61 MB for 30 of each and vectors of 512 values.
 */
const CHUNK_QUERIES = 2000;
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
  /** Queries per pass over the references; affects only memory and time. */
  chunkQueries?: number;
};

/**
 * The votes of each query for landmarks and countries: those of its best references, reranked among its nearest references and the nearest of
 * each of these. No other reference can come before them: its Jaccard distance is 1, and it is farther than all of the nearest.
 */
export async function voteOnQueries(options: VoteOptions): Promise<Shares[]> {
  const { queries, references, settings, means, what, chunkQueries = CHUNK_QUERIES } = options;
  const { dim } = references;
  const count = queries.length / dim;
  const shares: Shares[] = [];
  for (let chunk = 0; chunk < count; chunk += chunkQueries) {
    const some = queries.subarray(chunk * dim, (chunk + chunkQueries) * dim);
    const members = await membersOf(some, references, settings, means, what);
    for (let first = 0; first < members.length; first += GROUP_QUERIES) {
      means.signal?.throwIfAborted();
      const group = members.slice(first, first + GROUP_QUERIES);
      shares.push(...(await votesOf(some.subarray(first * dim), group, options)));
      means.onProgress?.({ what: `${what}: votes`, done: shares.length, total: count });
    }
  }
  return shares;
}

/** The candidate places of each query's votes, ascending. */
async function membersOf(
  queries: Float32Array<ArrayBuffer>,
  references: PlacedVectors,
  { voteNeighbours }: RerankSettings,
  means: SearchMeans,
  what: string,
): Promise<Int32Array[]> {
  const { dim, places } = references;
  const nearest = (values: Float32Array<ArrayBuffer>, label: string) =>
    findNeighbours({
      ...means,
      queries: { values, dim },
      gallery: references,
      places,
      topK: voteNeighbours,
      onProgress: ({ rows, total }) => means.onProgress?.({ what: label, done: rows, total }),
    });
  const { k, rows: ofQueries } = await nearest(queries, `${what}: references of the queries`);
  const seeds = ascending(ofQueries);
  const { rows: ofSeeds } = await nearest(await readPlaces(references, seeds, means.signal), `${what}: references of these references`);
  const theirs = new Map(Array.from(seeds, (seed, at) => [seed, ofSeeds.subarray(at * k, (at + 1) * k)]));
  return Array.from({ length: queries.length / dim }, (_, query) => {
    const own = ofQueries.subarray(query * k, (query + 1) * k);
    return ascending([...own].flatMap((seed) => [seed, ...(theirs.get(seed) ?? [])]));
  });
}

/** The shares of the first queries, as many as there are lists of members. */
async function votesOf(queries: Float32Array, group: readonly Int32Array[], options: VoteOptions): Promise<Shares[]> {
  const { references, categories, settings, means } = options;
  const { dim } = references;
  const gathered = await gatherPlaces(
    references,
    group.flatMap((members) => [...members]),
    means.signal,
  );
  const shares: Shares[] = [];
  for (const [query, members] of group.entries()) {
    const compared = new Float32Array((members.length + 1) * dim);
    compared.set(queries.subarray(query * dim, (query + 1) * dim));
    for (const [member, place] of members.entries()) compared.set(gathered.vectorOf(place), (member + 1) * dim);
    const cosines = await means.products.of(compared, compared, dim);
    const votes = rerankVotes(cosines, members.length + 1, settings);
    shares.push(sharesOf(votes.map(({ reference, similarity }) => ({ ...categoryAt(categories, members[reference]), similarity }))));
  }
  return shares;
}

export function categoryAt(categories: readonly Category[], place: number | undefined): Category {
  const category = categories[place ?? -1];
  if (category === undefined) throw new RangeError(`No reference has the place ${place}`);
  return category;
}

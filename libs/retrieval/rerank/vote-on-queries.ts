import { CairnError, type VotingConstants } from '@cairn/contract';
import { findNeighbours, type Neighbours } from '../search/find-neighbours.ts';
import { type Category, type Shares, sharesOf } from './category-boost.ts';
import type { SearchMeans } from './model-vectors.ts';
import { ascending, gatherPlaces, type PlacedVectors, readPlaces } from './placed-features.ts';
import { rerankVotes, type Vote } from './rerank-votes.ts';

/**
 * Queries for which the neighbours of their references are searched in one pass, and queries whose references are compared in memory: 123
 * MB and 61 MB for 30 of each and vectors of 512 values.
 */
export const chunkQueries = 2000;
const GROUP_QUERIES = 32;

export type VoteOptions = {
  /** In the order of their places: queries x dim. */
  queries: Float32Array<ArrayBuffer>;
  references: PlacedVectors;
  settings: VotingConstants;
  means: SearchMeans;
  what: string;
  /** Queries per pass over the references; affects only memory and time. */
  atOnce?: number;
};

/**
 * The votes of each query: its best references by place, reranked among its nearest references and the nearest of each of these, and their
 * reranked similarity. No other reference can come before them: its Jaccard distance is 1, and it is farther than all of the nearest.
 */
export async function voteOnQueries(options: VoteOptions): Promise<Neighbours> {
  const { queries, references, settings, means, what, atOnce = chunkQueries } = options;
  const { dim } = references;
  const count = queries.length / dim;
  const k = settings.votes;
  const [rows, scores] = [new Int32Array(count * k), new Float64Array(count * k)];
  let done = 0;
  for (let chunk = 0; chunk < count; chunk += atOnce) {
    const some = queries.subarray(chunk * dim, (chunk + atOnce) * dim);
    const members = await membersOf(some, references, settings, means, what);
    for (let first = 0; first < members.length; first += GROUP_QUERIES) {
      means.signal?.throwIfAborted();
      const group = members.slice(first, first + GROUP_QUERIES);
      for (const votes of await votesOf(some.subarray(first * dim), group, options)) {
        for (const [rank, { reference, similarity }] of votes.entries()) {
          rows[done * k + rank] = reference;
          scores[done * k + rank] = similarity;
        }
        done += 1;
      }
      means.onProgress?.({ what: `${what}: votes`, done, total: count });
    }
  }
  return { k, rows, scores };
}

/** Throws `invalid_setting` where there are fewer references than are compared with a query. */
export function assertEnoughReferences(name: string, count: number, { voteNeighbours }: Pick<VotingConstants, 'voteNeighbours'>): void {
  if (count >= voteNeighbours) return;
  throw new CairnError('invalid_setting', `${name} are ${count}, and the votes are looked for among the ${voteNeighbours} nearest.`, {
    details: { remedy: 'Use more references, or fewer vote neighbours.' },
  });
}

/** The votes of each query for landmarks and countries, as shares. `categories` are of the references, by place. */
export function sharesOfVotes({ k, rows, scores }: Neighbours, categories: readonly Category[]): Shares[] {
  const voteAt = (at: number) => ({ ...categoryAt(categories, rows[at]), similarity: scores[at] as number });
  return Array.from({ length: rows.length / k }, (_, query) => sharesOf(Array.from({ length: k }, (__, rank) => voteAt(query * k + rank))));
}

/** The candidate places of each query's votes, ascending. */
async function membersOf(
  queries: Float32Array<ArrayBuffer>,
  references: PlacedVectors,
  { voteNeighbours }: VotingConstants,
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

/** The votes of the first queries, as many as there are lists of members; `reference` is a place. */
async function votesOf(queries: Float32Array, group: readonly Int32Array[], options: VoteOptions): Promise<Vote[][]> {
  const { references, settings, means } = options;
  const { dim } = references;
  const gathered = await gatherPlaces(
    references,
    group.flatMap((members) => [...members]),
    means.signal,
  );
  const votes: Vote[][] = [];
  for (const [query, members] of group.entries()) {
    const compared = new Float32Array((members.length + 1) * dim);
    compared.set(queries.subarray(query * dim, (query + 1) * dim));
    for (const [member, place] of members.entries()) compared.set(gathered.vectorOf(place), (member + 1) * dim);
    const cosines = await means.products.of(compared, compared, dim);
    const found = rerankVotes(cosines, members.length + 1, settings);
    votes.push(found.map(({ reference, similarity }) => ({ reference: members[reference] ?? -1, similarity })));
  }
  return votes;
}

export function categoryAt(categories: readonly Category[], place: number | undefined): Category {
  const category = categories[place ?? -1];
  if (category === undefined) throw new RangeError(`No reference has the place ${place}`);
  return category;
}

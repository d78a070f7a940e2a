import { mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError, type VotingConstants, votesFile, votingConstantsOf } from '@cairn/contract';
import type { IdOrder } from '../features/id-table.ts';
import { wholeFile } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import type { Neighbours } from '../search/find-neighbours.ts';
import { assertOrigin, placeIn } from './tags-file.ts';

/** What votes are of: the feature sets of queries and references and the list of the references by content, and the constants. */
export type VotesOrigin = { query: string; references: string; list: string; constants: VotingConstants };

/** A query, the rank of a vote from 1, the reference that votes, and its reranked similarity. */
export type VoteRow = [queryId: string, rank: number, referenceId: string, similarity: number];

/** Writes a shard's votes: query_id, rank, reference_id, similarity, with what they are of in the file's metadata. */
export async function writeVotes(
  parquet: Parquet,
  { outDir, part, rows, origin }: { outDir: string; part: number; rows: Iterable<VoteRow>; origin: VotesOrigin },
): Promise<{ name: string; path: string }> {
  const name = votesFile(part);
  const path = join(outDir, name);
  await mkdir(dirname(path), { recursive: true });
  const columns = { query_id: 'text', rank: 'integer', reference_id: 'text', similarity: 'double' } as const;
  await wholeFile(path, (unfinished) => parquet.write({ path: unfinished, columns, rows, metadata: metadataOf(origin) }));
  return { name, path };
}

function metadataOf({ constants, ...sets }: VotesOrigin): Record<string, string> {
  return { ...sets, constants: JSON.stringify(votingConstantsOf(constants)) };
}

export type ReadVotesOptions = {
  parquet: Parquet;
  /** The folder of all shards, and what they must be of. */
  dir: string;
  origin: VotesOrigin;
  /** The ids in the order of their places. */
  queryIds: IdOrder;
  referenceIds: IdOrder;
  signal?: AbortSignal | undefined;
};

/**
 * The votes of each query, by place, the best first. Throws `model_mismatch` for votes of other features, another list or other settings,
 * `corrupt_artifact` for queries without all of their votes and references that are not in the list.
 */
export async function readVotes({ parquet, dir, origin, queryIds, referenceIds, signal }: ReadVotesOptions): Promise<Neighbours> {
  const { votes: k } = origin.constants;
  const [rows, scores] = [new Int32Array(queryIds.length * k).fill(-1), new Float64Array(queryIds.length * k)];
  const folder = join(dir, dirname(votesFile(0)));
  for (const name of (await readdir(folder)).toSorted()) {
    const path = join(folder, name);
    await assertOrigin({ parquet, path, what: 'votes', origin: metadataOf(origin), signal });
    const take = (queryId: string, rank: number, referenceId: string, similarity: number): void => {
      const reference = placeIn(referenceIds, referenceId);
      if (reference === -1 || rank < 1 || rank > k)
        throw new CairnError(
          'corrupt_artifact',
          `${path} has ${referenceId} as vote ${rank} of ${k} of the query ${queryId}, which is not a reference, or not one of its votes`,
        );
      const query = placeIn(queryIds, queryId);
      if (query === -1) return;
      rows[query * k + rank - 1] = reference;
      scores[query * k + rank - 1] = similarity;
    };
    await parquet.scan(
      { path, sql: 'select query_id, rank, reference_id, similarity from read_parquet($path)' },
      (some) => {
        const [ranks, references, similarities] = [some.integer('rank'), some.text('reference_id'), some.number('similarity')];
        for (const [row, id] of some.text('query_id').entries())
          take(id, ranks[row] ?? 0, references[row] ?? '', similarities[row] ?? Number.NaN);
      },
      signal,
    );
  }
  const missing = rows.indexOf(-1);
  if (missing !== -1)
    throw new CairnError(
      'corrupt_artifact',
      `The votes in ${dir} lack the vote ${(missing % k) + 1} of ${k} of the query ${queryIds.at(Math.floor(missing / k))}. Find the votes again.`,
    );
  return { k, rows, scores };
}

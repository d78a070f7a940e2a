import { mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CairnError, candidatesFile } from '@cairn/contract';
import { wholeFile } from '../files/whole-file.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { type Neighbours, neighboursOf } from './find-neighbours.ts';
import { createTopList } from './top-list.ts';

/** What candidates are of: two feature sets by content, and how many are kept of each query. */
export type CandidatesOrigin = { query: string; index: string; topK: number };

/** Index rows of a shard, and its number. */
export type CandidatesShard = { part: number; from: number; count: number };

/** A query's row, an index row, and their inner product. */
export type Candidate = [queryRow: number, indexRow: number, score: number];

/**
 * Writes a shard's candidates: query_row, index_row, score, where rows count over all parts of the two feature sets; what they are of and the
 * shard's rows are in the file's metadata. Throws `storage_full`.
 */
export async function writeCandidates(
  parquet: Parquet,
  { outDir, shard, rows, origin }: { outDir: string; shard: CandidatesShard; rows: Iterable<Candidate>; origin: CandidatesOrigin },
): Promise<{ name: string; path: string }> {
  const name = candidatesFile(shard.part);
  const path = join(outDir, name);
  await mkdir(dirname(path), { recursive: true });
  const columns = { query_row: 'integer', index_row: 'integer', score: 'double' } as const;
  const { from, count } = shard;
  const metadata = Object.fromEntries(Object.entries({ ...origin, from, count }).map(([key, value]) => [key, String(value)]));
  await wholeFile(path, (unfinished) => parquet.write({ path: unfinished, columns, rows, metadata }));
  return { name, path };
}

export type MergeCandidatesOptions = {
  parquet: Parquet;
  /** The folder of all shards, and what they must be of. */
  dir: string;
  origin: CandidatesOrigin;
  queries: number;
  /** The place of each index row in the order of ids, by which equal scores are ordered. */
  places: Int32Array;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { rows: number; total: number }) => void) | undefined;
};

/**
 * The nearest index images of each query by place, from the nearest of each shard: those that one search of the whole index finds, to the
 * bit, because a score is of its two rows alone and an image that is among the best of all is among the best of its shard. Throws
 * `model_mismatch` for candidates of other features or fewer neighbours, `corrupt_artifact` where shards do not cover the index once.
 */
export async function mergeCandidates(options: MergeCandidatesOptions): Promise<Neighbours> {
  const { parquet, dir, origin, queries, places, signal, onProgress } = options;
  const k = Math.min(origin.topK, places.length);
  const lists = Array.from({ length: queries }, () => createTopList(k));
  const folder = join(dir, dirname(candidatesFile(0)));
  let next = 0;
  for (const name of (await readdir(folder)).toSorted()) {
    const path = join(folder, name);
    const { from, count, topK } = await readShard(parquet, path, origin, signal);
    if (from !== next) throw misses(dir, next, from);
    next = from + count;
    const found = new Int32Array(queries);
    const take = (query: number, row: number, score: number): void => {
      const list = lists[query];
      const place = places[row];
      if (list === undefined || place === undefined || row < from || row >= next)
        throw new CairnError(
          'corrupt_artifact',
          `${path} has the query row ${query} with the index row ${row}, which are not of its shard`,
        );
      found[query] = (found[query] ?? 0) + 1;
      list.add(score, place);
    };
    await parquet.scan(
      { path, sql: 'select query_row, index_row, score from read_parquet($path)' },
      (some) => {
        const [rows, scores] = [some.integer('index_row'), some.number('score')];
        for (const [at, query] of some.integer('query_row').entries()) take(query, rows[at] ?? -1, scores[at] ?? Number.NaN);
      },
      signal,
    );
    const least = Math.min(topK, count);
    const short = found.findIndex((candidates) => candidates !== least);
    if (short !== -1)
      throw new CairnError('corrupt_artifact', `${path} has ${found[short]} candidates of the query row ${short} instead of ${least}`);
    onProgress?.({ rows: next, total: places.length });
  }
  if (next !== places.length) throw misses(dir, next, places.length);
  return neighboursOf(lists, k);
}

function misses(dir: string, from: number, to: number): CairnError {
  return new CairnError(
    'corrupt_artifact',
    `The candidates in ${dir} have none or two shards for the index rows between ${from} and ${to}`,
    {
      details: { remedy: 'Scan the index again.' },
    },
  );
}

const names = { query: 'the queries', index: 'the index' } as const;

/** The rows of a file's shard, and how many candidates each query has. */
async function readShard(parquet: Parquet, path: string, origin: CandidatesOrigin, signal?: AbortSignal) {
  const metadata = await parquet.metadata(path, signal);
  const remedy = 'Use the candidates of a step `scan` with the same inputs as the search.';
  for (const what of ['query', 'index'] as const) {
    if (metadata.get(what) === origin[what]) continue;
    const found = metadata.get(what) ?? 'a file that does not tell';
    throw new CairnError(
      'model_mismatch',
      `${path} has candidates of other features of ${names[what]}: of ${found}, not of ${origin[what]}`,
      {
        details: { remedy },
      },
    );
  }
  const [topK, from, count] = ['topK', 'from', 'count'].map((key) => Number(metadata.get(key) ?? Number.NaN));
  if (topK === undefined || from === undefined || count === undefined || ![topK, from, count].every(Number.isSafeInteger))
    throw new CairnError('corrupt_artifact', `${path} does not tell which rows of the index it has candidates of. Scan the index again.`);
  if (topK < origin.topK)
    throw new CairnError('model_mismatch', `${path} has the ${topK} nearest of each query; the search needs ${origin.topK}`, {
      details: { remedy },
    });
  return { topK, from, count };
}

import { stat } from 'node:fs/promises';
import { CairnError } from '@cairn/contract';
import { sha256, sha256File } from '@cairn/runtime';
import { orderIds, sortIds } from '../features/id-table.ts';
import { readFeatures } from '../features/read-features.ts';
import type { RowShards } from '../features/row-shards.ts';
import type { Device } from '../onnx/create-session.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { placeFeatures } from '../rerank/placed-features.ts';
import { type Candidate, type CandidatesOrigin, type CandidatesShard, writeCandidates } from './candidates-file.ts';
import { createScorer } from './create-scorer.ts';
import { findNeighbours, type Neighbours, type VectorSource } from './find-neighbours.ts';

export type OpenScanOptions = {
  parquet: Parquet;
  /** The folders of the two feature sets. */
  queries: string;
  index: string;
  origin: CandidatesOrigin;
  device: Device;
  threads: number;
  /** Index rows per matrix product. */
  blockRows: number;
  /** Candidates of all queries that are in memory at a time; affects only memory and time. */
  maxCandidates?: number;
};

/** About 22 bytes each: the kept ones, and those that wait for their score in float64. */
const MAX_CANDIDATES = 1 << 23;

/**
 * Opens an index whose rows are searched in shards: of each shard the nearest images of every query, scored in float64 and the same to the
 * bit on any device. Equal scores are ordered by id, so {@link mergeCandidates} finds what one search finds. Throws as {@link readFeatures}
 * and {@link findNeighbours}, `bad_row` for a vector that is not of length one.
 */
export async function openScan(options: OpenScanOptions): Promise<RowShards> {
  const { parquet, origin, device, threads, blockRows, maxCandidates = MAX_CANDIDATES } = options;
  const ofQueries = await readFeatures(options.queries, parquet);
  const queries = placeFeatures(ofQueries, orderIds(ofQueries.ids.table, ofQueries.ids.numbers), 'The queries');
  const features = await readFeatures(options.index, parquet);
  const index = placeFeatures(features, sortIds(features.ids.table), 'The index images');
  const scorer = await createScorer({ device, threads });
  const { dim } = index;
  const chunkRows = Math.max(1, Math.floor(maxCandidates / origin.topK));

  /** The nearest images of some queries in a shard, by place. */
  async function nearestIn(firstQuery: number, { from, count }: CandidatesShard, onRows: (rows: number) => void): Promise<Neighbours> {
    const values = await queries.read(firstQuery, chunkRows);
    const { readHalf } = index;
    const gallery: VectorSource = {
      rows: count,
      dim,
      read: (firstRow, rows) => index.read(from + firstRow, Math.min(rows, count - firstRow)),
      readHalf: readHalf && ((firstRow, into) => readHalf(from + firstRow, into)),
    };
    return findNeighbours({
      ...{ queries: { values, dim: queries.dim }, gallery, places: index.places.subarray(from, from + count), topK: origin.topK },
      ...{ blockRows, threads, device, scorer },
      onProgress: ({ rows }) => onRows(rows),
    });
  }

  function* candidatesOf(chunks: readonly Neighbours[]): Generator<Candidate> {
    for (const [chunk, { k, rows, scores }] of chunks.entries())
      for (const [at, place] of rows.entries())
        yield [chunk * chunkRows + Math.floor(at / k), index.rowOfPlace[place] ?? -1, scores[at] ?? Number.NaN];
  }

  return {
    dim,
    async computeShard(shard) {
      const { from, count, part, outDir, onProgress } = shard;
      const seconds = { read: 0, decode: 0, infer: 0, write: 0, total: 0 };
      const began = performance.now();
      const chunks: Neighbours[] = [];
      for (let firstQuery = 0; firstQuery < queries.rows; firstQuery += chunkRows) {
        const share = Math.min(chunkRows, queries.rows - firstQuery) / queries.rows;
        const before = firstQuery / queries.rows;
        const moved = (rows: number) => onProgress?.({ done: Math.floor(count * before + rows * share), total: count });
        chunks.push(await nearestIn(firstQuery, { part, from, count }, moved));
      }
      const writing = performance.now();
      const { name, path } = await writeCandidates(parquet, { outDir, shard: { part, from, count }, rows: candidatesOf(chunks), origin });
      await proveCandidates(path, { from, count });
      const ids = Array.from({ length: count }, (_, row) => `${features.ids.at(from + row)}\n`);
      const file = { name, path, bytes: (await stat(path)).size, sha256: await sha256File(path) };
      seconds.write = (performance.now() - writing) / 1000;
      seconds.total = (performance.now() - began) / 1000;
      seconds.infer = seconds.total - seconds.write;
      return { file, idsSha256: sha256(ids.join('')), seconds };
    },
  };

  /** Reads back what was written: each query has its candidates, none of them twice, all of the shard. */
  async function proveCandidates(path: string, { from, count }: { from: number; count: number }): Promise<void> {
    const each = Math.min(origin.topK, count);
    const sql = `select count(*) as queries, coalesce(min(distinct_rows), 0) as least, coalesce(max(rows), 0) as most,
        coalesce(min(first_row), $from) as first, coalesce(max(last_row), $from) as last
      from (select count(*) as rows, count(distinct index_row) as distinct_rows, min(index_row) as first_row, max(index_row) as last_row
            from read_parquet($path) group by query_row)`;
    const written = await parquet.query({ path, sql, parameters: { from } });
    const [queryCount, least, most, first, last] = ['queries', 'least', 'most', 'first', 'last'].map(
      (column) => written.integer(column)[0] ?? -1,
    );
    const isWhole = queries.rows === 0 || (queryCount === queries.rows && least === each && most === each);
    if (isWhole && (first ?? -1) >= from && (last ?? count) < from + count) return;
    throw new CairnError(
      'corrupt_artifact',
      `${path} has ${least} to ${most} candidates of ${queryCount} queries in the rows ${first} to ${last}; ${each} of ${queries.rows} queries in ${count} rows from ${from} were written`,
    );
  }
}

import { stat } from 'node:fs/promises';
import { sha256File } from '@cairn/runtime';
import { orderIds } from '../features/id-table.ts';
import { readFeatures } from '../features/read-features.ts';
import type { RowShards } from '../features/row-shards.ts';
import { proveShard } from '../features/shard-files.ts';
import type { Device } from '../onnx/create-session.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { createScorer } from '../search/create-scorer.ts';
import type { Neighbours } from '../search/find-neighbours.ts';
import { createProducts } from './create-products.ts';
import type { SearchProgress } from './model-vectors.ts';
import { labelReferences } from './open-models.ts';
import { placeFeatures } from './placed-features.ts';
import { assertEnoughReferences, chunkQueries, voteOnQueries } from './vote-on-queries.ts';
import { type VoteRow, type VotesOrigin, writeVotes } from './votes-file.ts';

export type OpenVotingOptions = {
  parquet: Parquet;
  /** The folders of the feature sets. */
  queries: string;
  references: string;
  /** The list of the references with their labels: those without one do not vote, and the first of equal ones comes first. */
  labels: string;
  /** With the constants of the votes. */
  origin: VotesOrigin;
  device: Device;
  threads: number;
  /** References per matrix product. */
  blockRows: number;
};

/**
 * How much of a chunk's time goes into each part that {@link voteOnQueries} reports: the references of the queries, those of these references,
 * up to thirty times as many, and the votes.
 */
const shares = [0.03, 0.95, 0.02] as const;

/**
 * Opens a feature set whose queries are voted on in shards: each has the votes that {@link voteOnQueries} finds for all of them, to the bit on
 * any device. Throws as {@link readFeatures} and {@link voteOnQueries}, `bad_row` for references without a label.
 */
export async function openVoting(options: OpenVotingOptions): Promise<RowShards> {
  const { parquet, origin, device, threads, blockRows } = options;
  const features = await readFeatures(options.queries, parquet);
  const unordered = await readFeatures(options.references, parquet);
  const { referenceIds } = await labelReferences(parquet, options.labels, unordered.ids.table);
  const queries = placeFeatures(features, orderIds(features.ids.table, features.ids.numbers), 'The queries');
  const references = placeFeatures(unordered, referenceIds, 'The references');
  assertEnoughReferences('The references', referenceIds.length, origin.constants);
  const scorer = await createScorer({ device, threads });
  const products = await createProducts({ device, threads });

  async function votesFrom(first: number, count: number, onShare: (share: number) => void): Promise<Neighbours> {
    const values = await queries.read(first, count);
    const parts: string[] = [];
    const onProgress = ({ what, done, total }: SearchProgress): void => {
      if (!parts.includes(what)) parts.push(what);
      const before = shares.slice(0, parts.length - 1).reduce((sum, share) => sum + share, 0);
      onShare(before + ((shares[parts.length - 1] ?? 0) * done) / total);
    };
    const means = { scorer, products, blockRows, threads, onProgress };
    return voteOnQueries({ queries: values, references, settings: origin.constants, means, what: 'votes' });
  }

  return {
    dim: features.dim,
    async computeShard({ from, count, outDir, part, onProgress }) {
      const seconds = { read: 0, decode: 0, infer: 0, write: 0, total: 0 };
      const began = performance.now();
      const rows: VoteRow[] = [];
      for (let first = from; first < from + count; first += chunkQueries) {
        const wanted = Math.min(chunkQueries, from + count - first);
        const {
          k,
          rows: places,
          scores,
        } = await votesFrom(first, wanted, (share) => onProgress?.({ done: first - from + Math.floor(wanted * share), total: count }));
        for (const [at, place] of places.entries())
          rows.push([
            features.ids.at(first + Math.floor(at / k)) ?? '',
            (at % k) + 1,
            referenceIds.at(place) ?? '',
            scores[at] ?? Number.NaN,
          ]);
      }
      const writing = performance.now();
      const { name, path } = await writeVotes(parquet, { outDir, part, rows, origin });
      const written = await parquet.query({
        path,
        sql: 'select query_id from read_parquet($path) where rank = $rank',
        parameters: { rank: 1 },
      });
      const idsSha256 = proveShard({
        list: Array.from({ length: count }, (_, row) => features.ids.at(from + row) ?? ''),
        features: written.text('query_id'),
        rejected: [],
      });
      const file = { name, path, bytes: (await stat(path)).size, sha256: await sha256File(path) };
      seconds.write = (performance.now() - writing) / 1000;
      seconds.total = (performance.now() - began) / 1000;
      seconds.infer = seconds.total - seconds.write;
      return { file, idsSha256, seconds };
    },
  };
}

import { stat } from 'node:fs/promises';
import { sha256File } from '@cairn/runtime';
import { orderIds, readImageIds } from '../features/id-table.ts';
import { readFeatures } from '../features/read-features.ts';
import type { RowShards } from '../features/row-shards.ts';
import { proveShard } from '../features/shard-files.ts';
import type { Device } from '../onnx/create-session.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { createScorer } from '../search/create-scorer.ts';
import { findNeighbours } from '../search/find-neighbours.ts';
import { labelReferences } from './open-models.ts';
import { placeFeatures } from './placed-features.ts';
import { type Tag, type TagsOrigin, writeTags } from './tags-file.ts';

export type OpenTaggingOptions = {
  parquet: Parquet;
  /** The folder of the feature set whose images are tagged. */
  index: string;
  /** The folder of the references' feature set. */
  references: string;
  /** The list of the references with their labels: those without one do not count, and the first of equally near ones does. */
  labels: string;
  origin: TagsOrigin;
  device: Device;
  threads: number;
  /** References per matrix product. */
  blockRows: number;
};

/** Rows that are compared with the references in one pass over these: 200 MB of vectors of 512 values. */
const CHUNK_ROWS = 100_000;

/**
 * Opens a feature set whose images are tagged with their nearest reference, in float64 and the same to the bit on any device. Throws as
 * {@link readFeatures} and {@link findNeighbours}, `bad_row` for references without a label.
 */
export async function openTagging(options: OpenTaggingOptions): Promise<RowShards> {
  const { parquet, origin, device, threads, blockRows } = options;
  const features = await readFeatures(options.index, parquet);
  const unordered = await readFeatures(options.references, parquet);
  const { referenceIds } = await labelReferences(parquet, options.labels, unordered.ids.table);
  const index = placeFeatures(features, orderIds(features.ids.table, features.ids.numbers), 'The index images');
  const references = placeFeatures(unordered, referenceIds, 'The references');
  const scorer = await createScorer({ device, threads });

  return {
    dim: features.dim,
    async computeShard({ from, count, outDir, part, onProgress }) {
      const seconds = { read: 0, decode: 0, infer: 0, write: 0, total: 0 };
      const began = performance.now();
      const rows: Tag[] = [];
      for (let first = from; first < from + count; first += CHUNK_ROWS) {
        const wanted = Math.min(CHUNK_ROWS, from + count - first);
        const reading = performance.now();
        const values = await index.read(first, wanted);
        seconds.read += (performance.now() - reading) / 1000;
        const { rows: places, scores } = await findNeighbours({
          queries: { values, dim: features.dim },
          gallery: references,
          places: references.places,
          topK: 1,
          blockRows,
          threads,
          device,
          scorer,
          onProgress: ({ rows: done, total }) => onProgress?.({ done: first - from + Math.floor((wanted * done) / total), total: count }),
        });
        for (let row = 0; row < wanted; row++)
          rows.push([features.ids.at(first + row) ?? '', referenceIds.at(places[row] ?? -1) ?? '', scores[row] ?? 0]);
      }
      const writing = performance.now();
      const { name, path } = await writeTags(parquet, { outDir, part, rows, origin });
      const written = await readImageIds(parquet, path);
      const idsSha256 = proveShard({
        list: Array.from({ length: count }, (_, row) => features.ids.at(from + row) ?? ''),
        features: written,
        rejected: [],
      });
      const file = { name, path, bytes: (await stat(path)).size, sha256: await sha256File(path) };
      seconds.write = (performance.now() - writing) / 1000;
      seconds.total = (performance.now() - began) / 1000;
      seconds.infer = seconds.total - seconds.read - seconds.write;
      return { file, idsSha256, seconds };
    },
  };
}

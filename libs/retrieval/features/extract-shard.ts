import { CairnError, partFile } from '@cairn/contract';
import type { DecodePool } from '../image/decode-pool.ts';
import type { Model } from '../onnx/open-model.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { readImageIds } from './id-table.ts';
import { createImageQueue, type ImageRow, type PreparedImage, type ReadImage } from './image-queue.ts';
import { normalizeRow } from './normalize-row.ts';
import { createShardFiles, proveShard, type RejectedImage, type ShardFile, type ShardFiles } from './shard-files.ts';

export type ExtractShardOptions<Row extends ImageRow> = {
  model: Model;
  parquet: Parquet;
  /** The shard's images, each id once. */
  rows: readonly Row[];
  read: ReadImage<Row>;
  /** Decodes to the side of the model's input. */
  decoder: DecodePool;
  /** Images per run of the model; the last batch is padded. */
  batch: number;
  /** The folder of the feature set. */
  outDir: string;
  /** Number of the shard, from 0. */
  part: number;
  onProgress?: ((progress: ShardProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Maximum time for reading one image; after it the shard fails with `storage_failed`. */
  readTimeoutMs?: number;
};

export type ShardProgress = { rows: number; rejected: number; total: number };

/**
 * Wall time by activity: waiting for bytes, waiting for pixels, running the model, writing. Reading and decoding run in parallel with the
 * model, so `read` and `decode` only count the time that the model waited.
 */
export type ShardSeconds = { read: number; decode: number; infer: number; write: number; total: number };

export type ShardResult = {
  part: number;
  rows: number;
  rejected: number;
  rejectedImages: RejectedImage[];
  dim: number;
  /** Features and ids, and the rejected images if there are any. */
  files: ShardFile[];
  /** The digest of {@link proveShard} over the ids that were read back. */
  idsSha256: string;
  seconds: ShardSeconds;
};

/**
 * Extracts the features of one shard: reads and decodes ahead on other threads, runs the model in batches of one fixed shape, and commits
 * `img_emb/img_emb_NNNNN.npy` (float16, unit length, rows x dim), `metadata/metadata_NNNNN.parquet` (image_id, in the order of the rows)
 * and, if there are any, `rejected/rejected_NNNNN.parquet` (image_id, path, reason). The ids are read back: each row is in one of the two
 * files, once. An image that cannot be read, decoded or embedded is rejected; a shard with only rejected images commits 0 rows. Files get
 * their final names only on success.
 *
 * The event loop is blocked while the model runs: call it in a separate process.
 */
export async function extractShard<Row extends ImageRow>(options: ExtractShardOptions<Row>): Promise<ShardResult> {
  const { model, decoder, rows, batch, outDir, part, parquet, signal, onProgress } = options;
  const { readTimeoutMs = 60_000 } = options;
  const { imageSize } = decoder;
  signal?.throwIfAborted();
  assertDistinct(rows, part);

  const start = performance.now();
  const files = await createShardFiles({ outDir, part, dim: model.embeddingDim, parquet }, signal);
  const images = createBatches(batch, imageSize);
  const queue = createImageQueue({ ...options, slots: images.slots, readTimeoutMs, signal });
  try {
    const embedder = createEmbedder({ model, batch, imageSize, files });
    for (let from = 0; from < rows.length; from += batch) {
      const taken = await queue.take(batch);
      await queue.untilRead(batch);
      await embedder.add(taken, images.batchOf(from / batch));
      queue.release();
      onProgress?.({ rows: embedder.rows(), rejected: embedder.rejected.length, total: rows.length });
      signal?.throwIfAborted();
    }
    const commit = performance.now();
    const committed = await files.commit(embedder.rejected);
    const idsOf = async (kind: 'metadata' | 'rejected') => {
      const file = committed.find(({ name }) => name === partFile(kind, part));
      return file === undefined ? [] : readImageIds(parquet, file.path, signal);
    };
    const list = rows.map(({ imageId }) => imageId);
    const idsSha256 = proveShard({ list, features: await idsOf('metadata'), rejected: await idsOf('rejected') });
    const write = embedder.seconds.write + secondsSince(commit);
    return {
      part,
      rows: embedder.rows(),
      rejected: embedder.rejected.length,
      rejectedImages: embedder.rejected,
      dim: model.embeddingDim,
      files: committed,
      idsSha256,
      seconds: { ...queue.waited, infer: embedder.seconds.infer, write, total: secondsSince(start) },
    };
  } finally {
    queue.close();
    await files.discard();
  }
}

/** Three batches: the model runs on one while the next is decoded and the one after it is read. */
const BATCHES = 3;

/** Pixels of some batches in memory that is shared with the decoder's threads, which write straight into their slots. */
function createBatches(batch: number, imageSize: number) {
  const imageBytes = imageSize * imageSize * 3;
  const batches = Array.from({ length: BATCHES }, () => new Uint8Array(new SharedArrayBuffer(batch * imageBytes)));
  return {
    slots: batches.flatMap((images) =>
      Array.from({ length: batch }, (_, index) => images.subarray(index * imageBytes, (index + 1) * imageBytes)),
    ),
    batchOf: (number: number) => batches[number % BATCHES] as Uint8Array,
  };
}

type EmbedderOptions = { model: Model; batch: number; imageSize: number; files: ShardFiles };

/** Runs the model on batches and appends their features. */
function createEmbedder({ model, batch, imageSize, files }: EmbedderOptions) {
  const rejected: RejectedImage[] = [];
  const seconds = { infer: 0, write: 0 };
  let rows = 0;

  return {
    rejected,
    seconds,
    rows: () => rows,
    /** @param images - batch x imageSize x imageSize x 3 bytes; those of a rejected image are not used */
    async add(taken: readonly PreparedImage<ImageRow>[], images: Uint8Array): Promise<void> {
      for (const { row, reason } of taken) if (reason !== null) reject(row, reason);
      if (taken.every(({ reason }) => reason !== null)) return;
      const inferring = performance.now();
      const features = await model.run({ images, batch, imageSize, rows: taken.length });
      seconds.infer += secondsSince(inferring);

      const dim = model.embeddingDim;
      const normalized = new Float16Array(taken.length * dim);
      const imageIds: string[] = [];
      taken.forEach(({ row, reason }, index) => {
        if (reason !== null) return;
        const to = normalized.subarray(imageIds.length * dim, (imageIds.length + 1) * dim);
        if (normalizeRow(features.subarray(index * dim, (index + 1) * dim), to)) imageIds.push(row.imageId);
        else reject(row, 'the model returns a feature that is zero or not finite');
      });
      const writing = performance.now();
      await files.append(imageIds, normalized.subarray(0, imageIds.length * dim));
      seconds.write += secondsSince(writing);
      rows += imageIds.length;
    },
  };

  function reject({ imageId, path }: ImageRow, reason: string): void {
    rejected.push({ imageId, path, reason });
  }
}

function assertDistinct(rows: readonly ImageRow[], part: number): void {
  const seen = new Set<string>();
  for (const { imageId } of rows) {
    if (seen.has(imageId)) throw new CairnError('internal', `Image ${imageId} occurs twice in the rows of shard ${part}`);
    seen.add(imageId);
  }
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}

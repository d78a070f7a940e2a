import { CairnError, type Preprocessing, partFile } from '@cairn/contract';
import sharp from 'sharp';
import type { Model } from '../onnx/open-model.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { createImageQueue, type ImageQueue, type ImageRow, type ReadImage } from './image-queue.ts';
import { normalizeRow } from './normalize-row.ts';
import { proveShard } from './prove-shard.ts';
import { readImageIds } from './read-image-ids.ts';
import { createShardFiles, type RejectedImage, type ShardFile, type ShardFiles } from './shard-files.ts';

export type ExtractShardOptions<Row extends ImageRow> = {
  model: Model;
  parquet: Parquet;
  /** The shard's images, each id once. */
  rows: readonly Row[];
  read: ReadImage<Row>;
  /** Side of the model's input in pixels. */
  imageSize: number;
  preprocessing: Preprocessing;
  /** Images per run of the model; the last batch is padded. */
  batch: number;
  /** Images decoded in parallel: the number of libuv threads of this process (UV_THREADPOOL_SIZE). */
  decodeConcurrency: number;
  /** The folder of the feature set. */
  outDir: string;
  /** Number of the shard, from 0. */
  part: number;
  onProgress?: ((progress: ShardProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Maximum time for reading one image; after it the shard fails with `storage_failed`. */
  readTimeoutMs?: number;
  /** Maximum time for decoding one image; after it the image is rejected. */
  decodeTimeoutMs?: number;
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
 * Extracts the features of one shard: reads and decodes ahead on libuv's threads, runs the model in batches of one fixed shape, and commits
 * `img_emb/img_emb_NNNNN.npy` (float16, unit length, rows x dim), `metadata/metadata_NNNNN.parquet` (image_id, in the order of the rows)
 * and, if there are any, `rejected/rejected_NNNNN.parquet` (image_id, path, reason). The ids are read back: each row is in one of the two
 * files, once. An image that cannot be read, decoded or embedded is rejected; a shard with only rejected images commits 0 rows. Files get
 * their final names only on success.
 *
 * The event loop is blocked while the model runs: call it in a separate process.
 */
export async function extractShard<Row extends ImageRow>(options: ExtractShardOptions<Row>): Promise<ShardResult> {
  const { model, rows, batch, imageSize, outDir, part, parquet, signal, onProgress } = options;
  const { readTimeoutMs = 60_000, decodeTimeoutMs = 60_000 } = options;
  signal?.throwIfAborted();
  assertDistinct(rows, part);
  // One image per thread and no cache: each image is read once.
  sharp.concurrency(1);
  sharp.cache(false);

  const start = performance.now();
  const files = await createShardFiles({ outDir, part, dim: model.embeddingDim, parquet }, signal);
  // One batch is decoded while the model runs on the previous one, and another one is read.
  const ahead = 2 * batch + options.decodeConcurrency;
  const queue = createImageQueue({ ...options, ahead, readTimeoutMs, decodeTimeoutMs, signal });
  try {
    const embedder = createEmbedder({ model, batch, imageSize, files, queue });
    const report = () => onProgress?.({ rows: embedder.rows(), rejected: embedder.rejected.length, total: rows.length });
    for (let image = await queue.next(); image !== null; image = await queue.next()) {
      if ('reason' in image) embedder.reject(image.row, image.reason);
      else if (await embedder.add(image.row, image.pixels)) report();
      signal?.throwIfAborted();
    }
    await embedder.flush();
    report();
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

type EmbedderOptions<Row extends ImageRow> = {
  model: Model;
  batch: number;
  imageSize: number;
  files: ShardFiles;
  queue: ImageQueue<Row>;
};

/** Collects images into batches, runs the model on each full one and appends its features. */
function createEmbedder<Row extends ImageRow>({ model, batch, imageSize, files, queue }: EmbedderOptions<Row>) {
  const imageBytes = imageSize * imageSize * 3;
  const images = new Uint8Array(batch * imageBytes);
  const waiting: Row[] = [];
  const rejected: RejectedImage[] = [];
  const seconds = { infer: 0, write: 0 };
  let rows = 0;

  function reject({ imageId, path }: Row, reason: string): void {
    rejected.push({ imageId, path, reason });
  }

  async function flush(): Promise<void> {
    if (waiting.length === 0) return;
    images.fill(0, waiting.length * imageBytes);
    await queue.untilRead(batch);
    const inferring = performance.now();
    const features = await model.run({ images, batch, imageSize, rows: waiting.length });
    seconds.infer += secondsSince(inferring);

    const dim = model.embeddingDim;
    const normalized = new Float16Array(waiting.length * dim);
    const imageIds: string[] = [];
    waiting.forEach((row, index) => {
      const to = normalized.subarray(imageIds.length * dim, (imageIds.length + 1) * dim);
      if (normalizeRow(features.subarray(index * dim, (index + 1) * dim), to)) imageIds.push(row.imageId);
      else reject(row, 'the model returns a feature that is zero or not finite');
    });
    const writing = performance.now();
    await files.append(imageIds, normalized.subarray(0, imageIds.length * dim));
    seconds.write += secondsSince(writing);
    rows += imageIds.length;
    waiting.length = 0;
  }

  return {
    rejected,
    seconds,
    rows: () => rows,
    reject,
    flush,
    /** True if the image filled a batch, which has then been run. */
    async add(row: Row, pixels: Uint8Array): Promise<boolean> {
      images.set(pixels, waiting.length * imageBytes);
      waiting.push(row);
      if (waiting.length < batch) return false;
      await flush();
      return true;
    },
  };
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

import { CairnError, partFile } from '@cairn/contract';
import type { DecodePool } from '../image/decode-pool.ts';
import type { Model } from '../onnx/open-model.ts';
import type { Parquet } from '../parquet/open-parquet.ts';
import { readImageIds } from './id-table.ts';
import { createImageQueue, type ImageRow, type PreparedImage, type ReadImage } from './image-queue.ts';
import { type FeaturePlace, type KnownRow, type KnownRows, openFeatureReader } from './known-rows.ts';
import { normalizeRow } from './normalize-row.ts';
import { createShardFiles, proveShard, type RejectedImage, type ShardFile, type ShardFiles } from './shard-files.ts';
import type { ShardJournal } from './shard-journal.ts';

/** A model that extracts a shard, and where its features go. */
export type ShardSet = {
  model: Model;
  /** The folder of the feature set. */
  outDir: string;
  /** What is known of the shard's images: taken over as it is, so an image that every set knows is not read. */
  known?: KnownRows | undefined;
  /** Where finished batches are kept until the shard is complete. */
  journal?: ShardJournal | undefined;
};

export type ExtractShardOptions<Row extends ImageRow> = {
  /** Several share one read and one decoding of each image. */
  sets: readonly ShardSet[];
  parquet: Parquet;
  /** The shard's images, each id once. */
  rows: readonly Row[];
  read: ReadImage<Row>;
  /** Decodes to the side of the models' input. */
  decoder: DecodePool;
  /** Images per run of a model; the last batch is padded. */
  batch: number;
  /** Number of the shard, from 0. */
  part: number;
  /** One image at a time, none ahead; called before each, to find the one that ends the process. */
  onImage?: ((imageId: string) => void) | undefined;
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
 * Extracts the features of one shard: reads and decodes ahead on other threads, runs the models in batches of one fixed shape, and commits
 * for each set `img_emb/img_emb_NNNNN.npy` (float16, unit length, rows x dim), `metadata/metadata_NNNNN.parquet` (image_id, in the order of
 * the rows) and, if there are any, `rejected/rejected_NNNNN.parquet` (image_id, path, reason, bytes). The ids are read back: each row is in one of
 * the two files, once. An image that cannot be read, decoded or embedded is rejected; a shard with only rejected images commits 0 rows.
 * Files get their final names only on success. Returns a result for each set.
 *
 * The event loop is blocked while a model runs: call it in a separate process.
 */
export async function extractShard<Row extends ImageRow>(options: ExtractShardOptions<Row>): Promise<ShardResult[]> {
  const { decoder, rows, batch, part, parquet, signal, onImage, onProgress } = options;
  const { readTimeoutMs = 60_000 } = options;
  const { imageSize } = decoder;
  signal?.throwIfAborted();
  assertDistinct(rows, part);

  const start = performance.now();
  const sets: OpenSet[] = [];
  const images = createBatches(batch, imageSize);
  const isOneByOne = onImage !== undefined;
  // The numbers of the rows that a set lacks.
  const wanted = rows.flatMap(({ imageId }, number) => (options.sets.every(({ known }) => known?.has(imageId)) ? [] : [number]));
  const queue = createImageQueue({
    ...options,
    rows: wanted.map((number) => rows[number] as Row),
    slots: isOneByOne ? images.slots.slice(0, 1) : images.slots,
    readTimeoutMs,
    signal,
  });
  const step = isOneByOne ? 1 : batch;
  try {
    for (const set of options.sets) sets.push(await openSet(set, { rows, part, parquet, batch, imageSize, signal }));
    const [first] = sets;
    let told = 0;
    const tell = (): void => {
      const { count, rejected } = (first as OpenSet).written();
      if (count + rejected.length === told) return;
      told = count + rejected.length;
      onProgress?.({ rows: count, rejected: rejected.length, total: rows.length });
    };
    for (let from = 0; from < wanted.length; from += step) {
      const numbers = wanted.slice(from, from + step);
      onImage?.((rows[numbers[0] as number] as Row).imageId);
      // Only now may the queue begin with the image.
      if (isOneByOne) queue.release();
      const taken = await queue.take(step);
      if (!isOneByOne) await queue.untilRead(batch);
      for (const set of sets) await set.add(taken, images.batchOf(isOneByOne ? 0 : from / batch), (numbers.at(-1) ?? 0) + 1);
      if (!isOneByOne) queue.release();
      tell();
      signal?.throwIfAborted();
    }
    for (const set of sets) await set.addRest();
    tell();
    const results: ShardResult[] = [];
    for (const set of sets) results.push(await set.commit());
    return withSharedSeconds(results, queue.waited, secondsSince(start));
  } finally {
    queue.close();
    for (const set of sets) await set.discard();
  }
}

/** What the sets share, which is all but running their models and writing, is divided among them: their sum is the time that it took. */
function withSharedSeconds(results: readonly ShardResult[], waited: { read: number; decode: number }, total: number): ShardResult[] {
  const own = (result: ShardResult): number => result.seconds.infer + result.seconds.write;
  const shared = Math.max(0, total - results.reduce((sum, result) => sum + own(result), 0)) / results.length;
  return results.map((result) => ({
    ...result,
    seconds: { ...result.seconds, read: waited.read / results.length, decode: waited.decode / results.length, total: own(result) + shared },
  }));
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

type SetOptions = {
  rows: readonly ImageRow[];
  part: number;
  parquet: Parquet;
  batch: number;
  imageSize: number;
  signal: AbortSignal | undefined;
};

/** The feature of an image, or what is known of it. */
type Outcome = Float16Array | KnownRow;

/** Rows that are written at once. */
const rowsAtATime = 1024;

type OpenSet = Awaited<ReturnType<typeof openSet>>;

/** Runs a model on batches, and writes the rows of the shard in their order: those of the batches, and in between those that are known. */
async function openSet(set: ShardSet, { rows, part, parquet, batch, imageSize, signal }: SetOptions) {
  const { model, outDir, known, journal } = set;
  const dim = model.embeddingDim;
  const files: ShardFiles = await createShardFiles({ outDir, part, dim, parquet }, signal);
  const reader = openFeatureReader(dim);
  const rejected: RejectedImage[] = [];
  const seconds = { infer: 0, write: 0 };
  let next = 0;
  let count = 0;

  async function infer(taken: readonly PreparedImage<ImageRow>[], images: Uint8Array): Promise<Map<string, Outcome>> {
    const outcomes = new Map<string, Outcome>();
    for (const { row, reason } of taken) if (reason !== null) outcomes.set(row.imageId, { reason });
    if (outcomes.size === taken.length) return outcomes;
    const inferring = performance.now();
    const features = await model.run({ images, batch, imageSize, rows: taken.length });
    seconds.infer += secondsSince(inferring);
    for (const [index, { row, reason }] of taken.entries()) {
      if (reason !== null) continue;
      const normalized = new Float16Array(dim);
      const isUsable = normalizeRow(features.subarray(index * dim, (index + 1) * dim), normalized);
      outcomes.set(row.imageId, isUsable ? normalized : { reason: 'the model returns a feature that is zero or not finite' });
    }
    return outcomes;
  }

  /** Writes the rows up to the row `end`. */
  async function writeUpTo(end: number, outcomes: ReadonlyMap<string, Outcome>): Promise<void> {
    const writing = performance.now();
    while (next < end) {
      const taken = rows.slice(next, Math.min(end, next + rowsAtATime));
      const features = new Float16Array(taken.length * dim);
      const imageIds: string[] = [];
      const places: (FeaturePlace & { at: number })[] = [];
      for (const { imageId, path, size, fileBytes } of taken) {
        const outcome = known?.get(imageId) ?? outcomes.get(imageId);
        if (outcome === undefined) throw new CairnError('internal', `Image ${imageId} of shard ${part} was neither extracted nor known`);
        if (outcome instanceof Float16Array) features.set(outcome, imageIds.length * dim);
        else if ('path' in outcome) places.push({ ...outcome, at: imageIds.length });
        else rejected.push({ imageId, path, reason: outcome.reason, bytes: size ?? fileBytes ?? null });
        if (outcome instanceof Float16Array || 'path' in outcome) imageIds.push(imageId);
      }
      await reader.read(places, features);
      await files.append(imageIds, features.subarray(0, imageIds.length * dim));
      count += imageIds.length;
      next += taken.length;
    }
    seconds.write += secondsSince(writing);
  }

  /** Keeps the new features of a batch. Rejected images are read again: on a machine that failed, good images may be among them. */
  async function keep(outcomes: ReadonlyMap<string, Outcome>): Promise<void> {
    if (journal === undefined) return;
    const found = [...outcomes].filter(([imageId]) => !known?.has(imageId));
    const rowsOf = found.flatMap(([imageId, outcome]) => (outcome instanceof Float16Array ? [{ imageId, outcome }] : []));
    const features = new Float16Array(rowsOf.length * dim);
    for (const [row, { outcome }] of rowsOf.entries()) features.set(outcome, row * dim);
    await journal.append({ imageIds: rowsOf.map(({ imageId }) => imageId), features });
  }

  return {
    written: () => ({ count, rejected }),
    /**
     * Adds a batch, and what is known of the rows before its last one.
     *
     * @param images - batch x imageSize x imageSize x 3 bytes; those of a rejected image are not used
     * @param end - the number of the row after its last one
     */
    async add(taken: readonly PreparedImage<ImageRow>[], images: Uint8Array, end: number): Promise<void> {
      const outcomes = taken.every(({ row }) => known?.has(row.imageId)) ? new Map<string, Outcome>() : await infer(taken, images);
      await keep(outcomes);
      await writeUpTo(end, outcomes);
    },
    /** Adds the rows after the last batch, which are known. */
    addRest: () => writeUpTo(rows.length, new Map()),
    async commit(): Promise<ShardResult> {
      const commit = performance.now();
      const committed = await files.commit(rejected);
      const idsOf = async (kind: 'metadata' | 'rejected') => {
        const file = committed.find(({ name }) => name === partFile(kind, part));
        return file === undefined ? [] : readImageIds(parquet, file.path, signal);
      };
      const list = rows.map(({ imageId }) => imageId);
      const idsSha256 = proveShard({ list, features: await idsOf('metadata'), rejected: await idsOf('rejected') });
      const { infer: inferred, write } = seconds;
      return {
        ...{ part, rows: count, rejected: rejected.length, rejectedImages: rejected, dim, files: committed, idsSha256 },
        seconds: { read: 0, decode: 0, infer: inferred, write: write + secondsSince(commit), total: 0 },
      };
    },
    async discard(): Promise<void> {
      await reader.close();
      await journal?.close();
      await files.discard();
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

import { writeFileSync } from 'node:fs';
import { CairnError } from '@cairn/contract';
import type { z } from 'zod';
import { makePicture, makeThumbnail } from './make-picture.ts';
import { type ComputeJobOf, computeJob, type searchAnswer, toComputeError } from './messages.ts';

// A child of the api (child-pool.ts): does one job after another, and ends with its parent.

// Where memory runs out, this process ends, not the api.
try {
  writeFileSync('/proc/self/oom_score_adj', '1000');
} catch {
  // Not on Linux.
}

async function perform(message: unknown): Promise<unknown> {
  const job = computeJob.parse(message);
  switch (job.kind) {
    case 'picture':
      return makePicture(job);
    case 'thumbnail':
      return makeThumbnail(job);
    case 'search':
      return searchPicture(job);
  }
}

async function handle(message: unknown): Promise<void> {
  const reply = await perform(message).then(
    (answer) => ({ answer }),
    (error: unknown) => ({ error: toComputeError(error) }),
  );
  // The parent may be gone.
  process.send?.(reply, undefined, undefined, () => undefined);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit());
process.on('message', (message) => void handle(message));

/** Rows of a feature set that are compared at once: 32 MB of float16 at 2,048 values. */
const blockRows = 8_192;

/**
 * The nearest images of a feature set to one picture, exactly. Throws `unreadable_image`; `model_mismatch` where the model is not that of
 * the features; as `readFeatures` does.
 */
async function searchPicture(job: ComputeJobOf<'search'>): Promise<z.infer<typeof searchAnswer>> {
  const { picture, imageSize: size, preprocessing, threads, topK, timeoutMs } = job;
  const { findNeighbours, normalizeRow, openModel, openParquet, preprocessImage, readFeatures, UnreadableImage } = await import(
    '@cairn/retrieval'
  );
  const pixels = await preprocessImage(picture, { size, preprocessing, timeoutMs }).catch((cause: unknown) => {
    if (!(cause instanceof UnreadableImage)) throw cause;
    throw new CairnError('unreadable_image', `The picture cannot be read: ${cause.message}`, { cause, details: { reason: cause.message } });
  });
  const model = await openModel({ path: job.modelPath, device: 'cpu', threads, imageSize: size });
  const batch = model.batch ?? 1;
  const images = new Uint8Array(batch * pixels.length);
  images.set(pixels);
  const features = await model.run({ images, batch, imageSize: size, rows: 1 });
  const vector = new Float16Array(model.embeddingDim);
  if (!normalizeRow(features, vector)) {
    const reason = 'the model returns a feature that is zero or not finite';
    throw new CairnError('unreadable_image', `The picture cannot be searched: ${reason}`, { details: { reason } });
  }
  await model.close();
  const parquet = await openParquet({ timeoutMs });
  try {
    const gallery = await readFeatures(job.index, parquet);
    const queries = { values: new Float32Array(vector), dim: vector.length };
    const found = await findNeighbours({ queries, gallery: { ...gallery, rows: gallery.ids.length }, topK, blockRows, threads });
    const neighbours = Array.from(found.rows, (row, rank) => ({ imageId: gallery.ids.at(row) ?? '', score: found.scores[rank] ?? 0 }));
    return { galleryRows: gallery.ids.length, neighbours };
  } finally {
    await parquet.close();
  }
}

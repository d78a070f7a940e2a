import { CairnError, isDatasetUrl } from '@cairn/contract';
import type { ChildJobOf, ChildProgress, ShardAnswer } from '../child/messages.ts';

/** Longer than a source's patience with its storage, whose error says more. */
const sourceTimeoutMs = 10 * 60_000;

/** The jobs of an extraction in a child: one model, one list, then shard after shard. */
export function extractionJobs() {
  let opened: Awaited<ReturnType<typeof openAll>> | null = null;

  return {
    async open(job: ChildJobOf<'openExtraction'>): Promise<{ embeddingDim: number }> {
      opened = await openAll(job);
      return { embeddingDim: opened.model.embeddingDim };
    },
    async extract({ index, from, count }: ChildJobOf<'extractShard'>, onProgress: (progress: ChildProgress) => void): Promise<ShardAnswer> {
      if (opened === null) throw new CairnError('internal', 'A shard was requested before model and list were opened');
      const { job, model, decoder, parquet, images, readListRows, extractShard } = opened;
      const rows = await readListRows(parquet, { path: job.listPath, from, count });
      if (rows.length !== count) {
        throw new CairnError(
          'corrupt_artifact',
          `${job.listPath} has ${rows.length} of the ${count} images of shard ${index} (from ${from})`,
        );
      }
      images.plan(rows);
      return extractShard({
        model,
        decoder,
        parquet,
        rows,
        read: (row, signal) => images.read(row, signal),
        batch: model.batch ?? job.batch,
        outDir: job.outDir,
        part: index,
        // A source waits for its storage longer than a folder for its disk.
        ...(isDatasetUrl(job.imageRoot) ? { readTimeoutMs: sourceTimeoutMs } : {}),
        onProgress: (progress) => onProgress({ done: progress.rows + progress.rejected, total: progress.total }),
      });
    },
  };
}

/** Loads the native libraries only in a process that extracts. */
async function openAll(job: ChildJobOf<'openExtraction'>) {
  const { createDecodePool, extractShard, openModel, openParquet, readListRows } = await import('@cairn/retrieval');
  const { openImageReader } = await import('@cairn/dataset');
  const { modelPath, device, threads, imageSize, preprocessing } = job;
  // Its threads start while the model is opened.
  const decoder = createDecodePool({ threads: job.decodeConcurrency, imageSize, preprocessing });
  const images = await openImageReader(job.imageRoot, job.datasetRoots);
  const [model, parquet] = await Promise.all([openModel({ path: modelPath, device, threads, imageSize }), openParquet()]);
  return { job, model, decoder, parquet, images, readListRows, extractShard };
}

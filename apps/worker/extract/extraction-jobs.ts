import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { CairnError, isCairnError, isDatasetUrl } from '@cairn/contract';
import type { KnownRow, ShardSet } from '@cairn/retrieval';
import { readGpus } from '@cairn/runtime';
import { type ChildJobOf, type ChildProgress, journalFile, type ShardAnswer, suspectFile } from '../child/messages.ts';

/** Longer than a source's patience with its storage, whose error says more. */
const sourceTimeoutMs = 10 * 60_000;

/** The jobs of an extraction in a child: its models, one list, then shard after shard. */
export function extractionJobs(env: NodeJS.ProcessEnv) {
  let opened: Awaited<ReturnType<typeof openAll>> | null = null;

  function requireOpened(): Awaited<ReturnType<typeof openAll>> {
    if (opened === null) throw new CairnError('internal', 'A shard was requested before model and list were opened');
    return opened;
  }

  return {
    async open(job: ChildJobOf<'openExtraction'>): Promise<{ embeddingDim: number }> {
      opened = await openAll(job, env);
      return { embeddingDim: opened.models[0]?.embeddingDim ?? 0 };
    },
    async extract(shard: ChildJobOf<'extractShard'>, onProgress: (progress: ChildProgress) => void): Promise<ShardAnswer[]> {
      const { job, batch, decoder, parquet, images, library } = requireOpened();
      const { index, from, count, isOneByOne } = shard;
      const rows = await library.readListRows(parquet, { path: job.listPath, from, count });
      if (rows.length !== count) {
        throw new CairnError(
          'corrupt_artifact',
          `${job.listPath} has ${rows.length} of the ${count} images of shard ${index} (from ${from})`,
        );
      }
      const sets = await openSets(requireOpened(), shard);
      const wanted = rows.filter(({ imageId }) => !sets.every(({ known }) => known?.has(imageId)));
      images.plan(wanted);
      if (isOneByOne) mkdirSync(job.journals, { recursive: true });
      let bytesRead = 0;
      const read = async (row: (typeof rows)[number], signal: AbortSignal): Promise<Buffer> => {
        const bytes = await images.read(row, signal);
        bytesRead += bytes.length;
        return bytes;
      };
      const results = await library.extractShard({
        sets,
        decoder,
        parquet,
        rows,
        read: (row, signal) =>
          read(row, signal).catch((error: unknown) => Promise.reject(job.retriesRejected === true ? asRejected(error) : error)),
        batch,
        part: index,
        // A source waits for its storage longer than a folder for its disk.
        ...(isDatasetUrl(job.imageRoot) ? { readTimeoutMs: sourceTimeoutMs } : {}),
        // Before the image is touched, because this process may end at it.
        ...(isOneByOne ? { onImage: (imageId) => writeFileSync(join(job.journals, suspectFile(index)), imageId) } : {}),
        onProgress: (progress) => onProgress({ done: progress.rows + progress.rejected, total: progress.total }),
      });
      return results.map((result) => ({ ...result, work: { bytesRead, ...requireOpened().madeBy } }));
    },
    async probe(): Promise<null> {
      const { models, batch, decoder, library } = requireOpened();
      const { imageSize } = decoder;
      const pixels = imageSize * imageSize * 3;
      const grey = await library.greyPicture();
      const images = new Uint8Array(new SharedArrayBuffer(batch * pixels));
      await decoder.preprocess(grey, images.subarray(0, pixels));
      for (const model of models) await model.run({ images, batch, imageSize, rows: 1 });
      return null;
    },
  };
}

/** A file that was repaired after its list was made is not what the list describes, so its image stays rejected. */
function asRejected(error: unknown): unknown {
  if (!isCairnError(error, 'dataset_changed')) return error;
  const message = `${error.message}; register the dataset again to have it read`;
  return new CairnError('missing_file', message, { details: { ...error.details, reason: 'changed' }, cause: error });
}

/** The sets of a shard, each with what it has of it: from an earlier set, from a child that ended, and what is rejected unread. */
async function openSets(
  { job, models, parquet, library }: Awaited<ReturnType<typeof openAll>>,
  { index, from, count, sets, rejects }: ChildJobOf<'extractShard'>,
): Promise<ShardSet[]> {
  const open: ShardSet[] = [];
  for (const number of sets) {
    const [set, model] = [job.sets[number], models[number]];
    if (set === undefined || model === undefined) throw new CairnError('internal', `There is no set ${number} in this extraction`);
    const { outDir, earlier, extraction } = set;
    const dim = model.embeddingDim;
    const known = new Map<string, KnownRow>(
      earlier === null ? [] : await library.readEarlierRows(parquet, { ...earlier, dim, from, count }),
    );
    const path = join(job.journals, journalFile(number, index));
    const { journal, known: kept } = await library.openJournal(path, { extraction, part: index, dim });
    for (const [imageId, row] of kept) known.set(imageId, row);
    for (const { imageId, reason } of rejects) known.set(imageId, { reason });
    open.push({ model, outDir, known, journal });
  }
  return open;
}

/** Loads the native libraries only in a process that extracts. */
async function openAll(job: ChildJobOf<'openExtraction'>, env: NodeJS.ProcessEnv) {
  const library = await import('@cairn/retrieval');
  const { openImageReader } = await import('@cairn/dataset');
  const { device, threads, imageSize, preprocessing } = job;
  // Its threads start while the models are opened.
  const decoder = library.createDecodePool({ threads: job.decodeConcurrency, imageSize, preprocessing });
  const images = await openImageReader(job.imageRoot, job.datasetRoots);
  const parquet = await library.openParquet();
  const models: Awaited<ReturnType<typeof library.openModel>>[] = [];
  for (const { modelPath } of job.sets) {
    const model = await library.openModel({ path: modelPath, device, threads, imageSize });
    if (model.imageSize !== null && model.imageSize !== imageSize)
      throw new CairnError('model_mismatch', `The model ${modelPath} takes only images of side ${model.imageSize}, not ${imageSize}`);
    models.push(model);
  }
  const madeBy = { device: await deviceName(device, env), versions: library.extractionVersions() };
  return { job, models, batch: batchOf(job, models), decoder, parquet, images, library, madeBy };
}

/** The GPU that this process sees, or the CPU. */
async function deviceName(device: 'cpu' | 'cuda', env: NodeJS.ProcessEnv): Promise<string> {
  const cpu = cpus()[0]?.model.trim() ?? '';
  if (device === 'cpu') return `CPU ${cpu}`.trim();
  const gpus = await readGpus({ env, signal: AbortSignal.timeout(15_000) }).catch(() => []);
  // nvidia-smi lists all GPUs of the machine, whichever this process sees.
  const own = gpus.find(({ index }) => String(index) === env.CUDA_VISIBLE_DEVICES) ?? gpus[0];
  return own === undefined ? 'GPU' : `GPU ${own.name}`;
}

/** The images of a run: as the models fix it. @throws CairnError `model_mismatch` for models that fix different batches */
function batchOf(job: ChildJobOf<'openExtraction'>, models: readonly { path: string; batch: number | null }[]): number {
  const fixed = models.filter(({ batch }) => batch !== null);
  const [first] = fixed;
  const other = fixed.find(({ batch }) => batch !== first?.batch);
  if (first !== undefined && other !== undefined)
    throw new CairnError(
      'model_mismatch',
      `The model ${first.path} takes ${first.batch} images at once and ${other.path} takes ${other.batch}: extract them one after the other`,
    );
  return first?.batch ?? job.batch;
}

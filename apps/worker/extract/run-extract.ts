import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type AttemptSpecOf, type FinishRequest, listsDetails, modelDetails } from '@cairn/contract';
import type { AttemptContext, Runner } from '../agent/attempt-context.ts';
import { fetchFile, inputOf } from '../agent/stored-files.ts';
import type { ChildJobOf } from '../child/messages.ts';
import { type FleetContext, type FleetWork, placesOf, runShards } from '../fleet/run-shards.ts';

type ExtractContext = AttemptContext<AttemptSpecOf<'extract'>>;

/** One worker of an extraction: claims shard after shard until all are committed, and extracts each in a child. */
export const runExtract: Runner<'extract'> = (context) => extractOn(context, placesOf(context));

/** {@link runExtract} with one child per place: a GPU's number, or null for the CPU. */
export async function extractOn(context: ExtractContext, places: readonly (number | null)[]): Promise<FinishRequest> {
  const { spec } = context;
  const total = listsDetails.safeParse(inputOf(spec, 'lists').details).data?.lists[spec.settings.list]?.distinct ?? 0;
  return runShards(extractionWork(context, { open: await openJob(context, places.length), places, total }));
}

type OpenJob = Omit<ChildJobOf<'openExtraction'>, 'device'>;
type Extraction = { open: OpenJob; places: readonly (number | null)[]; total: number };

/** The work of an extraction's children, with or without a control plane. */
export function extractionWork(context: FleetContext, { open, places, total }: Extraction): FleetWork {
  return {
    context,
    places,
    total,
    open: (device) => ({ ...open, device }),
    shard: ({ index, from, count }) => ({ kind: 'extractShard', index, from, count }),
    // The decoder's threads and the reads share libuv's.
    env: { UV_THREADPOOL_SIZE: String(open.decodeConcurrency + 2) },
  };
}

/** Downloads model and list, once for all children, and builds the job with which a child opens them. */
async function openJob(context: ExtractContext, places: number): Promise<OpenJob> {
  const { spec, workDir } = context;
  const model = inputOf(spec, 'model');
  const details = modelDetails.parse(model.details);
  const { path: modelPath } = await fetchFile(context, model, 'model.onnx');
  const { path: listPath } = await fetchFile(context, inputOf(spec, 'lists'), `lists/${spec.settings.list}.parquet`);
  return {
    kind: 'openExtraction',
    modelPath,
    listPath,
    imageRoot: spec.source.root,
    datasetRoots: [...context.datasetRoots],
    threads: spec.settings.threads,
    imageSize: details.imageSize,
    preprocessing: details.preprocessing,
    batch: spec.settings.batch,
    decodeConcurrency: Math.max(1, Math.floor(availableParallelism() / places)),
    outDir: join(workDir, 'features'),
  };
}

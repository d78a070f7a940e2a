import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type FinishRequest, featuresDetails, type InputArtifact } from '@cairn/contract';
import type { AttemptContext } from '../agent/attempt-context.ts';
import { type ChildJob, shardAnswer } from '../child/messages.ts';
import { type FleetWork, fleetClientOf, placesOf, runShards } from './run-shards.ts';

/** What `threads` is for a place if the setting is 0: an equal share of the processors. */
export const threadsOf = (context: AttemptContext, threads: number): number =>
  threads === 0 ? Math.max(1, Math.floor(availableParallelism() / placesOf(context).length)) : threads;

type RowsOptions = {
  context: AttemptContext;
  /** The feature set whose rows are divided into shards. */
  rows: InputArtifact;
  /** The job that opens the inputs in the child of a device, which writes its files below `outDir`. */
  open: (device: Parameters<FleetWork['open']>[0], outDir: string) => ChildJob;
  /** The job of a shard. */
  job: (shard: { index: number; from: number; count: number }) => ChildJob;
};

/** One worker of a fleet that multiplies the rows of a feature set. Throws as {@link runShards}. */
export function runRows({ context, rows, open, job }: RowsOptions): Promise<FinishRequest> {
  return runShards({
    context: { ...context, client: fleetClientOf(context.client) },
    places: placesOf(context),
    total: featuresDetails.safeParse(rows.details).data?.rows ?? 0,
    // Two places may compute the same shard near the end.
    open: (device, place) => open(device, join(context.workDir, `place-${place}`)),
    compute: async ({ shard: { index: part, from, count }, ask, onProgress }) => [
      await ask(job({ index: part, from, count }), shardAnswer, onProgress),
    ],
    // ONNX Runtime multiplies in TF32 on GPUs, whose rounding is too coarse for an exact search, and has no option against it here.
    env: { NVIDIA_TF32_OVERRIDE: '0' },
  });
}

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { assertOneOrigin, featuresDetails, originOf } from '@cairn/contract';
import type { Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, inputOf } from '../agent/stored-files.ts';
import { type ChildJobOf, shardAnswer } from '../child/messages.ts';
import { fleetClientOf, placesOf, runShards } from '../fleet/run-shards.ts';

/** One worker of a fleet that searches an index in pieces: of each shard, the nearest images of every query. */
export const runScan: Runner<'scan'> = async (context) => {
  const { spec, workDir } = context;
  const { settings } = spec;
  const places = placesOf(context);
  const [query, index] = [inputOf(spec, 'query'), inputOf(spec, 'index')];
  const sets = Object.entries({ query, index }).map(([set, { details }]) => ({ set, origin: originOf(details) }));
  assertOneOrigin('the scan', sets);
  const open: Omit<ChildJobOf<'openScan'>, 'device'> = {
    kind: 'openScan',
    queries: await fetchArtifact(context, query),
    index: await fetchArtifact(context, index),
    origin: { query: query.digest, index: index.digest, topK: settings.topK },
    threads: settings.threads === 0 ? Math.max(1, Math.floor(availableParallelism() / places.length)) : settings.threads,
    blockRows: settings.blockRows,
    outDir: join(workDir, 'candidates'),
  };
  return runShards({
    context: { ...context, client: fleetClientOf(context.client) },
    places,
    total: featuresDetails.safeParse(index.details).data?.rows ?? 0,
    // Two places may compute the same shard near the end.
    open: (device, place) => ({ ...open, device, outDir: join(open.outDir, `place-${place}`) }),
    compute: async ({ shard: { index: part, from, count }, ask, onProgress }) => [
      await ask({ kind: 'scanShard', index: part, from, count }, shardAnswer, onProgress),
    ],
    // ONNX Runtime multiplies in TF32 on GPUs, whose rounding is too coarse for an exact search, and has no option against it here.
    env: { NVIDIA_TF32_OVERRIDE: '0' },
  });
};

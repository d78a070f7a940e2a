import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { featuresDetails, type InputArtifact, type ListName } from '@cairn/contract';
import type { AttemptContext, Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, fetchFile, inputOf } from '../agent/stored-files.ts';
import { type ChildJobOf, shardAnswer } from '../child/messages.ts';
import { fleetClientOf, placesOf, runShards } from '../fleet/run-shards.ts';

/** One worker of a fleet that finds the nearest reference of each index image: it reads all references for each of its shards. */
export const runTag: Runner<'tag'> = async (context) => {
  const { spec, workDir } = context;
  const { settings } = spec;
  const places = placesOf(context);
  const [index, references] = [inputOf(spec, 'index'), inputOf(spec, 'references')];
  const open: Omit<ChildJobOf<'openTagging'>, 'device'> = {
    kind: 'openTagging',
    index: await fetchArtifact(context, index),
    references: await fetchArtifact(context, references),
    ...(await fetchLabels(context, settings.references, { index, references })),
    threads: settings.threads === 0 ? Math.max(1, Math.floor(availableParallelism() / places.length)) : settings.threads,
    blockRows: settings.blockRows,
    outDir: join(workDir, 'tags'),
  };
  return runShards({
    context: { ...context, client: fleetClientOf(context.client) },
    places,
    total: featuresDetails.safeParse(index.details).data?.rows ?? 0,
    // Two places may compute the same shard near the end.
    open: (device, place) => ({ ...open, device, outDir: join(open.outDir, `place-${place}`) }),
    compute: async ({ shard: { index: part, from, count }, ask, onProgress }) => [
      await ask({ kind: 'tagShard', index: part, from, count }, shardAnswer, onProgress),
    ],
    // ONNX Runtime multiplies in TF32 on GPUs, whose rounding is too coarse for an exact search, and has no option against it here.
    env: { NVIDIA_TF32_OVERRIDE: '0' },
  });
};

/** The list of the references, and what tags are of. */
export async function fetchLabels(
  context: AttemptContext,
  list: ListName,
  { index, references }: { index: InputArtifact; references: InputArtifact },
): Promise<{ labels: string; origin: { index: string; references: string; list: string } }> {
  const { path, sha256 } = await fetchFile(context, inputOf(context.spec, 'lists'), `lists/${list}.parquet`);
  return { labels: path, origin: { index: index.digest, references: references.digest, list: sha256 } };
}

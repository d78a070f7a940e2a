import type { InputArtifact, ListName } from '@cairn/contract';
import type { AttemptContext, Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, fetchFile, inputOf } from '../agent/stored-files.ts';
import type { ChildJobOf } from '../child/messages.ts';
import { runRows, threadsOf } from '../fleet/run-rows.ts';

/** One worker of a fleet that finds the nearest reference of each index image: it reads all references for each of its shards. */
export const runTag: Runner<'tag'> = async (context) => {
  const { spec } = context;
  const { settings } = spec;
  const [index, references] = [inputOf(spec, 'index'), inputOf(spec, 'references')];
  const open: Omit<ChildJobOf<'openTagging'>, 'device' | 'outDir'> = {
    kind: 'openTagging',
    index: await fetchArtifact(context, index),
    references: await fetchArtifact(context, references),
    ...(await fetchLabels(context, settings.references, { index, references })),
    threads: threadsOf(context, settings.threads),
    blockRows: settings.blockRows,
  };
  return runRows({
    context,
    index,
    open: (device, outDir) => ({ ...open, device, outDir }),
    job: (shard) => ({ kind: 'tagShard', ...shard }),
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

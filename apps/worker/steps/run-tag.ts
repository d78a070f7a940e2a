import { assertOneOrigin, type ListName, originOf } from '@cairn/contract';
import type { AttemptContext, Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, fetchFile, inputOf } from '../agent/stored-files.ts';
import type { ChildJobOf } from '../child/messages.ts';
import { runRows, threadsOf } from '../fleet/run-rows.ts';

/** One worker of a fleet that finds the nearest reference of each index image: it reads all references for each of its shards. */
export const runTag: Runner<'tag'> = async (context) => {
  const { spec } = context;
  const { settings } = spec;
  const [index, references] = [inputOf(spec, 'index'), inputOf(spec, 'references')];
  const sets = Object.entries({ index, references }).map(([set, { details }]) => ({ set, origin: originOf(details) }));
  assertOneOrigin('the tags', sets);
  const { path: labels, sha256: list } = await fetchLabels(context, settings.references);
  const open: Omit<ChildJobOf<'openTagging'>, 'device' | 'outDir'> = {
    kind: 'openTagging',
    index: await fetchArtifact(context, index),
    references: await fetchArtifact(context, references),
    labels,
    origin: { index: index.digest, references: references.digest, list },
    threads: threadsOf(context, settings.threads),
    blockRows: settings.blockRows,
  };
  return runRows({
    context,
    rows: index,
    open: (device, outDir) => ({ ...open, device, outDir }),
    job: (shard) => ({ kind: 'tagShard', ...shard }),
  });
};

/** The list of the references, with their labels. */
export function fetchLabels(context: AttemptContext, list: ListName): Promise<{ path: string; sha256: string }> {
  return fetchFile(context, inputOf(context.spec, 'lists'), `lists/${list}.parquet`);
}

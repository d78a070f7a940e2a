import { assertOneOrigin, originOf } from '@cairn/contract';
import type { Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, inputOf } from '../agent/stored-files.ts';
import type { ChildJobOf } from '../child/messages.ts';
import { runRows, threadsOf } from '../fleet/run-rows.ts';

/** One worker of a fleet that searches an index in pieces: of each shard, the nearest images of every query. */
export const runScan: Runner<'scan'> = async (context) => {
  const { spec } = context;
  const { settings } = spec;
  const [query, index] = [inputOf(spec, 'query'), inputOf(spec, 'index')];
  const sets = Object.entries({ query, index }).map(([set, { details }]) => ({ set, origin: originOf(details) }));
  assertOneOrigin('the scan', sets);
  const open: Omit<ChildJobOf<'openScan'>, 'device' | 'outDir'> = {
    kind: 'openScan',
    queries: await fetchArtifact(context, query),
    index: await fetchArtifact(context, index),
    origin: { query: query.digest, index: index.digest, topK: settings.topK },
    threads: threadsOf(context, settings.threads),
    blockRows: settings.blockRows,
  };
  return runRows({
    context,
    rows: index,
    open: (device, outDir) => ({ ...open, device, outDir }),
    job: (shard) => ({ kind: 'scanShard', ...shard }),
  });
};

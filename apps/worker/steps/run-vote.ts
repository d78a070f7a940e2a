import { assertOneOrigin, originOf, votingConstantsOf } from '@cairn/contract';
import type { Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, inputOf } from '../agent/stored-files.ts';
import type { ChildJobOf } from '../child/messages.ts';
import { runRows, threadsOf } from '../fleet/run-rows.ts';
import { fetchLabels } from './run-tag.ts';

/** One worker of a fleet that finds the references that vote on each query: it reads all references twice for each of its shards. */
export const runVote: Runner<'vote'> = async (context) => {
  const { spec } = context;
  const { settings } = spec;
  const [query, references] = [inputOf(spec, 'query'), inputOf(spec, 'references')];
  const sets = Object.entries({ query, references }).map(([set, { details }]) => ({ set, origin: originOf(details) }));
  assertOneOrigin('the votes', sets);
  const { path: labels, sha256: list } = await fetchLabels(context, settings.references);
  const open: Omit<ChildJobOf<'openVoting'>, 'device' | 'outDir'> = {
    kind: 'openVoting',
    queries: await fetchArtifact(context, query),
    references: await fetchArtifact(context, references),
    labels,
    origin: { query: query.digest, references: references.digest, list, constants: votingConstantsOf(settings) },
    threads: threadsOf(context, settings.threads),
    blockRows: settings.blockRows,
  };
  return runRows({
    context,
    rows: query,
    open: (device, outDir) => ({ ...open, device, outDir }),
    job: (shard) => ({ kind: 'voteShard', ...shard }),
  });
};

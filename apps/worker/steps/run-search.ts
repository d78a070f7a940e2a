import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type ArtifactDetails, assertOneOrigin, featureFolders, originOf } from '@cairn/contract';
import { untilAborted } from '@cairn/runtime';
import type { Runner } from '../agent/attempt-context.ts';
import { fetchArtifact, inputOf, uploadFile } from '../agent/stored-files.ts';
import { searchAnswer } from '../child/messages.ts';
import { startChild } from '../child/start-child.ts';

/** One attempt at a search: the exact nearest index images of every query, by itself or merged from what a fleet found. */
export const runSearch: Runner<'search'> = async (context) => {
  const { spec, workDir, stop, reporter } = context;
  const [query, index] = [inputOf(spec, 'query'), inputOf(spec, 'index')];
  const sets = Object.entries({ query, index }).map(([set, { details }]) => ({ set, origin: originOf(details) }));
  assertOneOrigin('the search', sets);
  const folder = join(workDir, 'search');
  mkdirSync(folder, { recursive: true });
  const out = join(folder, 'neighbours.parquet');
  const { topK } = spec.settings;
  const found = spec.inputs.candidates;
  // With candidates no vector is needed any more.
  const isWanted = (name: string): boolean => found === undefined || name.startsWith(`${featureFolders.metadata}/`);
  const job = {
    kind: 'search',
    queries: await fetchArtifact(context, query, isWanted),
    index: await fetchArtifact(context, index, isWanted),
    candidates:
      found === undefined ? null : { dir: await fetchArtifact(context, found), origin: { query: query.digest, index: index.digest } },
    topK,
    blockRows: spec.settings.blockRows,
    threads: availableParallelism(),
    out,
  } as const;
  const child = startChild(context);
  try {
    const answer = child.ask(job, searchAnswer, ({ done, total }) => {
      reporter.progress({ done, total, unit: 'rows', rate: null, etaSeconds: null, message: `${done} of ${total} index rows searched` });
    });
    const { queries } = await untilAborted(answer, stop.asked);
    const file = await uploadFile(context, 'neighbours.parquet', { file: out }, { signal: stop.asked });
    const details: ArtifactDetails['neighbours'] = { queries, index: index.id, topK };
    return { outcome: 'succeeded', files: [file], details };
  } finally {
    await child.kill();
  }
};

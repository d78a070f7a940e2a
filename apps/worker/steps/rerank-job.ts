import type { z } from 'zod';
import type { ChildJobOf, ChildProgress, rerankAnswer } from '../child/messages.ts';

/** The search of several models in a child: matrix products block its event loop, not the agent's. */
export async function rerank(
  { kind: _, matching, ...job }: ChildJobOf<'rerank'>,
  onProgress: (progress: ChildProgress) => void,
): Promise<z.infer<typeof rerankAnswer>> {
  const { openParquet, placesInList, searchModels } = await import('@cairn/retrieval');
  const parquet = await openParquet();
  const { localMatching: settings } = job.settings;
  const imagesOf = (root: string, list: string) => ({ root, placesOf: (ids: ReadonlySet<string>) => placesInList(parquet, list, ids) });
  const localMatching =
    matching === null || settings === null
      ? null
      : {
          settings,
          matcherPath: matching.matcherPath,
          queries: imagesOf(matching.imageRoot, matching.queryList),
          index: imagesOf(matching.imageRoot, matching.indexList),
          cache: null,
          python: matching.python,
          env: matching.env,
        };
  try {
    const { manifest } = await searchModels({ ...job, parquet, localMatching, solution: null, onProgress });
    const { queries, references, localMatching: matched } = manifest;
    // The agent takes the counts of them alone.
    return { queries: queries.rows, references, localMatching: matched, unreadable: matched?.unreadable ?? [] };
  } finally {
    await parquet.close();
  }
}

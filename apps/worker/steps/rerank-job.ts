import type { z } from 'zod';
import type { ChildJobOf, ChildProgress, rerankAnswer } from '../child/messages.ts';

/** The search of several models in a child: matrix products block its event loop, not the agent's. */
export async function rerank(
  { kind: _, ...job }: ChildJobOf<'rerank'>,
  onProgress: (progress: ChildProgress) => void,
): Promise<z.infer<typeof rerankAnswer>> {
  const { openParquet, searchModels } = await import('@cairn/retrieval');
  const parquet = await openParquet();
  try {
    const { manifest } = await searchModels({ ...job, parquet, solution: null, onProgress });
    const { queries, references } = manifest;
    if (references === null) return { queries: queries.rows, references };
    const { digest: _digest, ...counts } = references;
    return { queries: queries.rows, references: counts };
  } finally {
    await parquet.close();
  }
}

import type { z } from 'zod';
import type { ChildJobOf, ChildProgress, searchAnswer } from '../child/messages.ts';

/** The search in a child: matrix products block its event loop, not the agent's. */
export async function search(
  { queries, index, candidates, topK, blockRows, threads, out }: ChildJobOf<'search'>,
  onProgress: (progress: ChildProgress) => void,
): Promise<z.infer<typeof searchAnswer>> {
  const { openParquet, searchExact } = await import('@cairn/retrieval');
  const parquet = await openParquet();
  try {
    const found = await searchExact({
      parquet,
      queries,
      index,
      candidates,
      topK,
      blockRows,
      threads,
      out,
      onProgress: ({ rows, total }) => onProgress({ done: rows, total }),
    });
    return { queries: found.queries, galleryRows: found.gallery.rows, seconds: found.seconds };
  } finally {
    await parquet.close();
  }
}

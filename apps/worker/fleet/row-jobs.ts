import { CairnError } from '@cairn/contract';
import type { Parquet, RowShards } from '@cairn/retrieval';
import type { ChildProgress, ShardAnswer } from '../child/messages.ts';

/** The jobs of a fleet over rows in a child, which alone loads the native libraries: `open` opens the feature sets; then shard after shard. */
export function rowJobs<Job extends { outDir: string }>(
  open: (library: typeof import('@cairn/retrieval'), job: Job & { parquet: Parquet }) => Promise<RowShards>,
) {
  let opened: { outDir: string; shards: RowShards } | null = null;

  return {
    async open(job: Job): Promise<{ embeddingDim: number }> {
      const library = await import('@cairn/retrieval');
      opened = { outDir: job.outDir, shards: await open(library, { ...job, parquet: await library.openParquet() }) };
      return { embeddingDim: opened.shards.dim };
    },
    async compute(
      { index, from, count }: { index: number; from: number; count: number },
      onProgress: (progress: ChildProgress) => void,
    ): Promise<ShardAnswer> {
      if (opened === null) throw new CairnError('internal', 'A shard was requested before the feature sets were opened');
      const { outDir, shards } = opened;
      const { file, idsSha256, seconds } = await shards.computeShard({ part: index, from, count, outDir, onProgress });
      return { rows: count, rejected: 0, rejectedImages: [], files: [file], idsSha256, seconds };
    },
  };
}

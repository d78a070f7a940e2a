import { CairnError } from '@cairn/contract';
import type { ChildJobOf, ChildProgress, ShardAnswer } from '../child/messages.ts';

/** The jobs of tagging in a child: feature sets and their references, then shard after shard. */
export function taggingJobs() {
  let opened: Awaited<ReturnType<typeof openAll>> | null = null;

  return {
    async open(job: ChildJobOf<'openTagging'>): Promise<{ embeddingDim: number }> {
      opened = await openAll(job);
      return { embeddingDim: opened.tagging.dim };
    },
    async tag({ index, from, count }: ChildJobOf<'tagShard'>, onProgress: (progress: ChildProgress) => void): Promise<ShardAnswer> {
      if (opened === null) throw new CairnError('internal', 'A shard was requested before the feature sets were opened');
      const { job, tagging } = opened;
      const { file, idsSha256, seconds } = await tagging.tagShard({ part: index, from, count, outDir: job.outDir, onProgress });
      return { rows: count, rejected: 0, rejectedImages: [], files: [file], idsSha256, seconds };
    },
  };
}

/** Loads the native libraries only in a process that tags. */
async function openAll(job: ChildJobOf<'openTagging'>) {
  const { openParquet, openTagging } = await import('@cairn/retrieval');
  return { job, tagging: await openTagging({ ...job, parquet: await openParquet() }) };
}

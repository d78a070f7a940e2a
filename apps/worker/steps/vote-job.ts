import { CairnError } from '@cairn/contract';
import type { ChildJobOf, ChildProgress, ShardAnswer } from '../child/messages.ts';

/** The jobs of voting in a child: feature sets and their references, then shard after shard. */
export function votingJobs() {
  let opened: Awaited<ReturnType<typeof openAll>> | null = null;

  return {
    async open(job: ChildJobOf<'openVoting'>): Promise<{ embeddingDim: number }> {
      opened = await openAll(job);
      return { embeddingDim: opened.voting.dim };
    },
    async vote({ index, from, count }: ChildJobOf<'voteShard'>, onProgress: (progress: ChildProgress) => void): Promise<ShardAnswer> {
      if (opened === null) throw new CairnError('internal', 'A shard was requested before the feature sets were opened');
      const { job, voting } = opened;
      const { file, idsSha256, seconds } = await voting.voteShard({ part: index, from, count, outDir: job.outDir, onProgress });
      return { rows: count, rejected: 0, rejectedImages: [], files: [file], idsSha256, seconds };
    },
  };
}

/** Loads the native libraries only in a process that votes. */
async function openAll(job: ChildJobOf<'openVoting'>) {
  const { openParquet, openVoting } = await import('@cairn/retrieval');
  return { job, voting: await openVoting({ ...job, parquet: await openParquet() }) };
}

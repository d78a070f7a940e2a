import { CairnError } from '@cairn/contract';
import type { ChildJobOf, ChildProgress, ShardAnswer } from '../child/messages.ts';

/** The jobs of a scan in a child: the feature sets, then shard after shard. */
export function scanJobs() {
  let opened: Awaited<ReturnType<typeof openAll>> | null = null;

  return {
    async open(job: ChildJobOf<'openScan'>): Promise<{ embeddingDim: number }> {
      opened = await openAll(job);
      return { embeddingDim: opened.scan.dim };
    },
    async scan({ index, from, count }: ChildJobOf<'scanShard'>, onProgress: (progress: ChildProgress) => void): Promise<ShardAnswer> {
      if (opened === null) throw new CairnError('internal', 'A shard was requested before the feature sets were opened');
      const { job, scan } = opened;
      const { file, idsSha256, seconds } = await scan.scanShard({ part: index, from, count, outDir: job.outDir, onProgress });
      return { rows: count, rejected: 0, rejectedImages: [], files: [file], idsSha256, seconds };
    },
  };
}

/** Loads the native libraries only in a process that searches. */
async function openAll(job: ChildJobOf<'openScan'>) {
  const { openParquet, openScan } = await import('@cairn/retrieval');
  return { job, scan: await openScan({ ...job, parquet: await openParquet() }) };
}

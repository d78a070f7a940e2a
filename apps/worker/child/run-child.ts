import { extractionJobs } from '../extract/extraction-jobs.ts';
import { rowJobs } from '../fleet/row-jobs.ts';
import { rerank } from '../steps/rerank-job.ts';
import { search } from '../steps/search-job.ts';
import { type ChildJob, type ChildJobOf, type ChildProgress, type ChildReply, childRequest, toChildError } from './messages.ts';

/**
 * The child's side: does the jobs that its parent sends, one after another, and exits when the parent is gone. Signals are
 * left to the parent.
 */
export async function runChild(env: NodeJS.ProcessEnv): Promise<void> {
  const extraction = extractionJobs(env);
  const tagging = rowJobs<ChildJobOf<'openTagging'>>(({ openTagging }, job) => openTagging(job));
  const voting = rowJobs<ChildJobOf<'openVoting'>>(({ openVoting }, job) => openVoting(job));
  const scan = rowJobs<ChildJobOf<'openScan'>>(({ openScan }, job) => openScan(job));
  const { promise: parentGone, resolve } = Promise.withResolvers<void>();

  function perform(job: ChildJob, onProgress: (progress: ChildProgress) => void): Promise<unknown> {
    switch (job.kind) {
      case 'openExtraction':
        return extraction.open(job);
      case 'extractShard':
        return extraction.extract(job, onProgress);
      case 'probe':
        return extraction.probe();
      case 'openTagging':
        return tagging.open(job);
      case 'tagShard':
        return tagging.compute(job, onProgress);
      case 'openVoting':
        return voting.open(job);
      case 'voteShard':
        return voting.compute(job, onProgress);
      case 'openScan':
        return scan.open(job);
      case 'scanShard':
        return scan.compute(job, onProgress);
      case 'search':
        return search(job, onProgress);
      case 'rerank':
        return rerank(job, onProgress);
    }
  }

  async function handle(message: unknown): Promise<void> {
    const { id, job } = childRequest.parse(message);
    try {
      const answer = await perform(job, (progress) => send({ type: 'progress', id, progress }));
      send({ type: 'done', id, answer });
    } catch (error) {
      send({ type: 'failed', id, error: toChildError(error) });
    }
  }

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  process.on('disconnect', resolve);
  process.on('message', (message) => void handle(message));
  send({ type: 'ready' });
  await parentGone;
}

function send(reply: ChildReply): void {
  // The parent may be gone; then there is no receiver.
  process.send?.(reply, undefined, undefined, () => undefined);
}

import { writeFileSync } from 'node:fs';
import { makePicture, makeThumbnail } from './make-picture.ts';
import { computeJob, toComputeError } from './messages.ts';
import { searchPicture } from './search-picture.ts';

// A child of the api (child-pool.ts): does one job after another, and ends with its parent.

// Where memory runs out, this process ends, not the api.
try {
  writeFileSync('/proc/self/oom_score_adj', '1000');
} catch {
  // Not on Linux.
}

async function perform(message: unknown): Promise<unknown> {
  const job = computeJob.parse(message);
  switch (job.kind) {
    case 'picture':
      return makePicture(job);
    case 'thumbnail':
      return makeThumbnail(job);
    case 'search':
      return searchPicture(job);
  }
}

async function handle(message: unknown): Promise<void> {
  const reply = await perform(message).then(
    (answer) => ({ answer }),
    (error: unknown) => ({ error: toComputeError(error) }),
  );
  // The parent may be gone.
  process.send?.(reply, undefined, undefined, () => undefined);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit());
process.on('message', (message) => void handle(message));

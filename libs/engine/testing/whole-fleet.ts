import { loadWaiting } from '@cairn/db';
import type { Harness } from './engine-harness.ts';

let variant = 0;

/** A run whose index is extracted, with every shard committed, and the worker that did it. */
export async function wholeFleet(harness: Harness, rejected = 0) {
  variant += 1;
  const runId = await harness.submit({ set: { 'stages.first.epochs': 150 + variant, 'extract.index.maxBadImageShare': 0.5 } });
  for (const name of ['first', 'second', 'export']) await harness.play(runId, name, `whole ${variant}`);
  const [worker = ''] = await harness.startAttempts(runId, 'extract_index');
  await harness.commitAll(worker, rejected);
  const step = () => harness.step(runId, 'extract_index');
  const startFinalizing = async () => (await harness.startFinalizing(runId, 'extract_index'))[0] ?? '';
  const waiting = async () =>
    (await loadWaiting(harness.prisma)).waiting.filter((one) => one.runId === runId && one.name === 'extract_index');
  const finish = async (attempt: string, digest?: string) =>
    harness.engine.finishAttempt(attempt, 1, {
      outcome: 'succeeded',
      files: [],
      details: { digest: digest ?? (await harness.stagedDigest(attempt)) },
    });
  return { runId, worker, step, startFinalizing, waiting, finish };
}

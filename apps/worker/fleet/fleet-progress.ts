import type { ShardAnswer } from '../child/messages.ts';
import type { Reporter } from '../report/reporter.ts';

const shares = ['read', 'decode', 'infer', 'write'] as const;

/** Reports the progress of one worker of a fleet: images, their rate, and where the time goes. */
export function fleetProgress(reporter: Reporter, total: number, now: () => number = Date.now) {
  const underWay = new Map<number, number>();
  const start = now();
  let images = 0;
  let shards = 0;

  function reportProgress(): void {
    const done = images + [...underWay.values()].reduce((sum, count) => sum + count, 0);
    const seconds = (now() - start) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    reporter.progress({
      done,
      total: Math.max(total, done),
      unit: 'images',
      rate,
      // The share of the other workers is unknown here.
      etaSeconds: null,
      message: `${shards} shards done by this worker, ${rate.toFixed(1)} images/s`,
    });
  }

  return {
    /** The shard being computed has this many images done. */
    moved(index: number, done: number): void {
      underWay.set(index, done);
      reportProgress();
    },
    /** The shard was given up. */
    left: (index: number) => void underWay.delete(index),
    /** The shard was committed, in each of its sets. */
    stored(index: number, answers: readonly ShardAnswer[]): void {
      const [first] = answers;
      const count = first === undefined ? 0 : first.rows + first.rejected;
      const sumOf = (phase: keyof ShardAnswer['seconds']): number => answers.reduce((sum, { seconds }) => sum + seconds[phase], 0);
      const total = sumOf('total');
      underWay.delete(index);
      images += count;
      shards += 1;
      if (total > 0) {
        reporter.metric('images_per_second', images, count / total);
        for (const share of shares) reporter.metric(`${share}_share`, images, Math.min(1, sumOf(share) / total));
      }
      reportProgress();
    },
    shards: () => shards,
  };
}

import { monitorEventLoopDelay } from 'node:perf_hooks';

const resolutionMs = 10;

export type LongestBlock = {
  /** In milliseconds of wall-clock time: how long everything in this process waited, including for a processor. */
  blockedMs(): number;
  /** In milliseconds of processor time: how long this process's own code blocked it, however busy the machine is. */
  busyMs(): number;
  close(): void;
};

/**
 * The longest time that the event loop was blocked within the last 30 to 60 s: long enough for every scraper to see it, without one
 * scraper resetting it for another.
 */
export function watchLongestBlock({ windowMs = 30_000 } = {}): LongestBlock {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  const before = { blockedMs: 0, busyMs: 0 };
  let busyMs = 0;
  let last = busyNow();
  const blockedMs = () => (histogram.count === 0 ? 0 : Math.max(0, histogram.max / 1e6 - resolutionMs));
  const turn = setInterval(() => {
    const now = busyNow();
    busyMs = Math.max(busyMs, now - last);
    last = now;
  }, resolutionMs).unref();
  const window = setInterval(() => {
    Object.assign(before, { blockedMs: blockedMs(), busyMs });
    histogram.reset();
    busyMs = 0;
  }, windowMs).unref();
  return {
    blockedMs: () => Math.max(before.blockedMs, blockedMs()),
    busyMs: () => Math.max(before.busyMs, busyMs),
    close() {
      clearInterval(turn);
      clearInterval(window);
      histogram.disable();
    },
  };
}

function busyNow(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

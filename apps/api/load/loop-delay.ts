import { monitorEventLoopDelay } from 'node:perf_hooks';

const everyMs = 250;
/** Of the histogram: what a timer is late by itself is part of every sample. */
const resolutionMs = 20;

/**
 * How late the event loop is, in milliseconds, as a mean over the last quarter of a second: what everything that this
 * program does waits longer.
 */
export function watchLoopDelay(): { delayMs(): number; close(): void } {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  let delayMs = 0;
  histogram.enable();
  const timer = setInterval(() => {
    // Without a sample in all that time the loop stood still for all of it.
    delayMs = histogram.count === 0 ? everyMs : Math.max(0, histogram.mean / 1e6 - resolutionMs);
    histogram.reset();
  }, everyMs).unref();
  return {
    delayMs: () => delayMs,
    close() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}

import { type Closer, createMetrics, type Metrics, watchLongestBlock } from '@cairn/runtime';

/** What a controller measures of itself: above all whether anything keeps it from renewing the lead in time. */
export function controllerMetrics(closer: Pick<Closer, 'add'>): Metrics {
  const metrics = createMetrics();
  const longest = watchLongestBlock();
  closer.add('watch over the event loop', () => longest.close());
  metrics.gauge({
    name: 'controller_longest_block_seconds',
    help: 'The longest time that the event loop was blocked within the last 30 to 60 s.',
    collect: (gauge) => gauge.set(longest.blockedMs() / 1000),
  });
  metrics.gauge({
    name: 'controller_longest_busy_seconds',
    help: 'The longest time within the last 30 to 60 s that its own code held the event loop, in processor time.',
    collect: (gauge) => gauge.set(longest.busyMs() / 1000),
  });
  return metrics;
}

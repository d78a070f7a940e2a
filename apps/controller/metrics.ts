import { type Closer, createMetrics, type Metrics, watchLongestBlock } from '@cairn/runtime';

/** The controller's own metrics: above all whether anything keeps it from renewing the lead in time. */
export function controllerMetrics(closer: Pick<Closer, 'add'>): Metrics {
  const metrics = createMetrics();
  const longest = watchLongestBlock();
  closer.add('event loop monitor', () => longest.close());
  metrics.gauge({
    name: 'controller_longest_block_seconds',
    help: 'Longest time that the event loop was blocked within the last 30 to 60 s.',
    collect: (gauge) => gauge.set(longest.blockedMs() / 1000),
  });
  metrics.gauge({
    name: 'controller_longest_busy_seconds',
    help: 'Longest time that its own code blocked the event loop within the last 30 to 60 s, in CPU time.',
    collect: (gauge) => gauge.set(longest.busyMs() / 1000),
  });
  return metrics;
}

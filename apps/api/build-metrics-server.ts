import type { Logger, Metrics } from '@cairn/runtime';
import { type App, createApp } from './http/app.ts';
import type { ConnectionBounds } from './load/bound-connections.ts';
import type { LoadLimits } from './load/load-limits.ts';
import { shedLoad } from './load/shed-load.ts';
import { type MetricsPage, metricsRoute } from './routes/metrics.ts';

export type MetricsServerDeps = { page: MetricsPage; load: LoadLimits; connections: ConnectionBounds; log: Logger; metrics: Metrics };

/** /metrics without a token, on a port of its own that a Prometheus server reaches and people do not. Not yet listening. */
export async function buildMetricsServer({ page, load, connections, log, metrics }: MetricsServerDeps): Promise<App> {
  const app = createApp({ server: 'metrics', log, metrics, maxBodyBytes: 1_024, connections });
  shedLoad(app, load, () => 'probe');
  metricsRoute(app, page, {});
  await app.ready();
  return app;
}

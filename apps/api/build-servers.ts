import type { PrismaClient } from '@cairn/db';
import type { Engine, EngineContext } from '@cairn/engine';
import type { Closer, Logger, Metrics } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { createAdmissionCache } from './admission-cache.ts';
import { buildApi } from './build-api.ts';
import { buildInternalApi } from './build-internal-api.ts';
import { buildMetricsServer } from './build-metrics-server.ts';
import { createEventFeed, type FeedOptions } from './events/feed.ts';
import { sourceInspector } from './inspect-source.ts';
import { createLoadLimits } from './load/load-limits.ts';
import { createMetricsPage } from './routes/metrics.ts';
import type { ServerBounds } from './server-bounds.ts';
import { locatorOf } from './storage-access.ts';
import { createWeightsQuota } from './weights-quota.ts';

export type ServerOptions = {
  prisma: PrismaClient;
  engine: Engine;
  recipes: EngineContext['recipes'];
  databaseUrl: string;
  /** Most connections to the database: what is worked on at once is measured by them. */
  connections: number;
  store: ObjectStore;
  /** What callers may take. */
  bounds: ServerBounds;
  /** What attempt tokens are made with. */
  serverKey: string;
  /** The folders that datasets may lie in now. */
  datasetRoots(): Promise<readonly string[]>;
  log: Logger;
  metrics: Metrics;
  /** How often the event feed looks and tells; its own defaults without it. */
  pace?: Pick<FeedOptions, 'pollMs' | 'hintMs'>;
  /** Time between two heartbeats of an event stream; 15 s without it. */
  heartbeatMs?: number;
};

/** One replica: the public, the internal and the metrics server with all they share, not yet listening. `closer` ends what was made. */
export async function buildServers(options: ServerOptions, closer: Closer) {
  const { prisma, engine, recipes, databaseUrl, connections, store, bounds, serverKey, datasetRoots, log, metrics, pace, heartbeatMs } =
    options;
  const feed = createEventFeed({ prisma, databaseUrl, log, ...pace });
  closer.add('the event feed', () => feed.close());
  const load = createLoadLimits({ connections, metrics }, closer);
  const metricsPage = createMetricsPage({ prisma, metrics, log });
  const api = await buildApi({
    prisma,
    engine,
    feed,
    admission: createAdmissionCache(prisma),
    recipes,
    inspectSource: sourceInspector(datasetRoots),
    store,
    locate: locatorOf(store.url),
    load,
    bounds,
    weightsQuota: createWeightsQuota(prisma, bounds.weights),
    metricsPage,
    log,
    metrics,
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
  });
  closer.add('the public server', () => api.close());
  const internal = await buildInternalApi({ prisma, engine, serverKey, load, connections: bounds.connections, log, metrics });
  closer.add('the internal server', () => internal.close());
  const metricsServer = await buildMetricsServer({ page: metricsPage, load, connections: bounds.connections, log, metrics });
  closer.add('the metrics server', () => metricsServer.close());
  return { api, internal, metricsServer, feed };
}

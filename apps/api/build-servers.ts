import type { PrismaClient } from '@cairn/db';
import type { Engine, EngineContext } from '@cairn/engine';
import type { Closer, Logger, Metrics } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { createAdmissionCache } from './admission-cache.ts';
import { buildApi } from './build-api.ts';
import { buildInternalApi } from './build-internal-api.ts';
import { createEventFeed, type FeedOptions } from './events/feed.ts';
import { sourceInspector } from './inspect-source.ts';
import { locatorOf } from './storage-access.ts';

export type ServerOptions = {
  prisma: PrismaClient;
  engine: Engine;
  recipes: EngineContext['recipes'];
  databaseUrl: string;
  store: ObjectStore;
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

/** One replica: the public and the internal server with all they share, not yet listening. `closer` ends what was made. */
export async function buildServers(options: ServerOptions, closer: Closer) {
  const { prisma, engine, recipes, databaseUrl, store, serverKey, datasetRoots, log, metrics, pace, heartbeatMs } = options;
  const feed = createEventFeed({ prisma, databaseUrl, log, ...pace });
  closer.add('the event feed', () => feed.close());
  const api = await buildApi({
    prisma,
    engine,
    feed,
    admission: createAdmissionCache(prisma),
    recipes,
    inspectSource: sourceInspector(datasetRoots),
    store,
    locate: locatorOf(store.url),
    log,
    metrics,
    ...(heartbeatMs === undefined ? {} : { heartbeatMs }),
  });
  closer.add('the public server', () => api.close());
  const internal = await buildInternalApi({ prisma, engine, serverKey, log, metrics });
  closer.add('the internal server', () => internal.close());
  return { api, internal, feed };
}

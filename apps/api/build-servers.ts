import { fileURLToPath } from 'node:url';
import { maxBodyBytes } from '@cairn/contract';
import { type AdmissionSource, type AdmissionView, loadAdmission, type PrismaClient } from '@cairn/db';
import type { Engine, EngineContext } from '@cairn/engine';
import { queryScoreReader } from '@cairn/judging';
import type { Closer, Logger, Metrics } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { guardRoutes } from './auth/guard.ts';
import { createChildPool } from './compute/child-pool.ts';
import type { EventFeed } from './events/feed.ts';
import type { FileCache } from './file-cache.ts';
import { createApp } from './http/app.ts';
import type { App } from './http/bare-app.ts';
import { type Dashboard, isPageRequest, serveDashboard } from './http/dashboard.ts';
import { datasetImages } from './images/dataset-images.ts';
import { openStoredTables } from './images/list-rows.ts';
import { pictureSearcher } from './images/search-by-picture.ts';
import { sourceInspector } from './inspect-source.ts';
import type { ConnectionBounds } from './load/bound-connections.ts';
import { limitCallRates } from './load/call-rates.ts';
import { createLoadLimits, type LoadLimits } from './load/load-limits.ts';
import { shedLoad } from './load/shed-load.ts';
import { describeRoutes } from './openapi/document.ts';
import type { ApiDeps } from './routes/api-deps.ts';
import { artifactRoutes, retentionRoutes } from './routes/artifacts.ts';
import { attemptFileRoutes, attemptRoutes } from './routes/attempts.ts';
import { costRoutes } from './routes/costs.ts';
import { datasetRoutes } from './routes/datasets.ts';
import { evaluationRoutes } from './routes/evaluations.ts';
import { eventRoutes, fleetRoutes } from './routes/events.ts';
import { gateRoutes } from './routes/gates.ts';
import { createMetricsPage, healthRoutes, type MetricsPage, metricsRoute } from './routes/health.ts';
import { hookRoutes } from './routes/hooks.ts';
import { imageRoutes, searchRoutes } from './routes/images.ts';
import { internalRoutes } from './routes/internal.ts';
import { modelFileRoutes, modelRoutes } from './routes/models.ts';
import { recipeRoutes, runRoutes } from './routes/runs.ts';
import { scheduleRoutes } from './routes/schedules.ts';
import { secretRoutes } from './routes/secrets.ts';
import { sessionRoutes } from './routes/session.ts';
import { stepRoutes } from './routes/steps.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { triggerRoutes } from './routes/triggers.ts';
import { viewRoutes } from './routes/views.ts';
import { codeHostRoutes, webhookRoutes } from './routes/webhooks.ts';
import { weightsRoutes } from './routes/weights.ts';
import type { ServerBounds } from './server-bounds.ts';
import { createWeightsQuota } from './weights-quota.ts';

type ServerOptions = {
  prisma: PrismaClient;
  engine: Engine;
  recipes: EngineContext['recipes'];
  feed: EventFeed;
  /** Most connections to the database; the concurrency limits are derived from them. */
  connections: number;
  store: ObjectStore;
  /** Limits for callers. */
  bounds: ServerBounds;
  /** The key that signs attempt tokens. */
  serverKey: string;
  /** The folders that may currently contain datasets. */
  datasetRoots(): Promise<readonly string[]>;
  /** Keeps files that can be made again. */
  cache: FileCache;
  /** The environment of child processes: without secrets. */
  childEnvironment: Readonly<Record<string, string>>;
  log: Logger;
  metrics: Metrics;
  /** The dashboard to serve; null where it is not built. */
  dashboard: Dashboard | null;
  /** Time between two heartbeats of an event stream. */
  heartbeatMs: number;
};

/** An image of 100 million pixels takes 400 MB decoded, and the program 300. */
const decoderMemoryBytes = 1_500_000_000;
/** The model and the ids of some million images; vectors are read block by block. */
const searcherMemoryBytes = 4_000_000_000;

/** One replica: the public, the internal and the metrics server and what they share, not yet listening. `closer` closes all of it. */
export async function buildServers(options: ServerOptions, closer: Closer) {
  const { prisma, engine, feed, recipes, connections, store, bounds, serverKey, datasetRoots, log, metrics, dashboard, heartbeatMs } =
    options;
  const { cache } = options;
  const load = createLoadLimits({ connections, metrics }, closer);
  const metricsPage = createMetricsPage({ prisma, metrics, log });
  const tables = openStoredTables({ store, cache }, closer);
  const decoders = createChildPool({ size: 2, maxMemoryBytes: decoderMemoryBytes, env: options.childEnvironment });
  closer.add('the decoders of images', () => decoders.close());
  const searchers = createChildPool({ size: 1, maxMemoryBytes: searcherMemoryBytes, env: options.childEnvironment });
  closer.add('the searchers', () => searchers.close());
  const api = await buildApi({
    prisma,
    engine,
    feed,
    admission: createAdmissionCache(prisma),
    recipes,
    inspectSource: sourceInspector(datasetRoots),
    images: datasetImages({ prisma, tables, cache, children: decoders, datasetRoots }),
    searchByPicture: pictureSearcher({ prisma, store, tables, cache, children: searchers }),
    tables,
    store,
    locate: locatorOf(store.url),
    load,
    bounds,
    weightsQuota: createWeightsQuota(prisma, bounds.weights),
    metricsPage,
    log,
    metrics,
    dashboard,
    heartbeatMs,
  });
  closer.add('the public server', () => api.close());
  const internal = await buildInternalApi({ prisma, engine, serverKey, load, connections: bounds.connections, log, metrics });
  closer.add('the internal server', () => internal.close());
  const metricsServer = await buildMetricsServer({ page: metricsPage, load, connections: bounds.connections, log, metrics });
  closer.add('the metrics server', () => metricsServer.close());
  return { api, internal, metricsServer };
}

/** A view that took less than this to load is not cached. */
const cheapMs = 25;
/** At most this share of the time is spent on loading. */
const share = 0.1;
const longestMs = 2_000;

/**
 * Shares the admission view between requests: concurrent callers get the same one, and one that was expensive, because thousands of steps
 * wait, is cached for ten times as long as it took.
 */
function createAdmissionCache(prisma: PrismaClient): AdmissionSource {
  let kept: { view: AdmissionView; until: number } | null = null;
  let pending: Promise<AdmissionView> | null = null;

  async function load(): Promise<AdmissionView> {
    const begin = performance.now();
    try {
      const view = await loadAdmission(prisma);
      const tookMs = performance.now() - begin;
      kept = tookMs < cheapMs ? null : { view, until: performance.now() + Math.min(longestMs, tookMs / share) };
      return view;
    } finally {
      pending = null;
    }
  }

  return () => {
    if (kept !== null && performance.now() < kept.until) return Promise.resolve(kept.view);
    pending ??= load();
    return pending;
  };
}

type MetricsServerDeps = { page: MetricsPage; load: LoadLimits; connections: ConnectionBounds; log: Logger; metrics: Metrics };

/** /metrics without a token, on a separate port that only a Prometheus server can reach. Not yet listening. */
async function buildMetricsServer({ page, load, connections, log, metrics }: MetricsServerDeps): Promise<App> {
  const app = createApp({ server: 'metrics', log, metrics, maxBodyBytes: 1_024, connections });
  shedLoad(app, load, () => 'probe');
  metricsRoute(app, page, {});
  await app.ready();
  return app;
}

/** The largest body of an attempt's call: a report of many log chunks, or the files of a large artifact. */
const maxInternalBodyBytes = 8 * 1024 * 1024;

/** Well above a report of 512 KiB of points, or a result with 10,000 files. */
const bodyBounds = { values: 300_000, depth: 32 };

type InternalApiDeps = {
  prisma: PrismaClient;
  engine: Engine;
  /** The key that signs attempt tokens. */
  serverKey: string;
  load: LoadLimits;
  connections: ConnectionBounds;
  log: Logger;
  metrics: Metrics;
};

/** The internal server, on a separate port that only pods can reach. Not yet listening. */
async function buildInternalApi(deps: InternalApiDeps): Promise<App> {
  const app = createApp({
    server: 'internal',
    log: deps.log,
    metrics: deps.metrics,
    maxBodyBytes: maxInternalBodyBytes,
    bodyBounds,
    connections: deps.connections,
  });
  shedLoad(app, deps.load, () => 'attempt');
  internalRoutes(app, deps);
  healthRoutes(app, deps);
  await app.ready();
  return app;
}

/** The public server: /v1, health, metrics, OpenAPI and its page, the dashboard. Not yet listening. */
async function buildApi(deps: ApiDeps): Promise<App> {
  const app = createApp({
    server: 'public',
    log: deps.log,
    metrics: deps.metrics,
    maxBodyBytes,
    connections: deps.bounds.connections,
    ...(deps.dashboard === null ? {} : { isPageRequest }),
  });
  limitCallRates(app, deps.bounds.rates);
  shedLoad(app, deps.load, ({ method }) => (method === 'GET' ? 'read' : 'command'));
  await describeRoutes(app);
  guardRoutes(app, deps);
  runRoutes(app, deps);
  stepRoutes(app, deps);
  attemptRoutes(app, deps);
  attemptFileRoutes(app, deps);
  datasetRoutes(app, deps);
  imageRoutes(app, deps);
  recipeRoutes(app, deps);
  weightsRoutes(app, deps);
  modelRoutes(app, deps);
  modelFileRoutes(app, deps);
  searchRoutes(app, deps);
  artifactRoutes(app, deps);
  retentionRoutes(app, deps);
  const readScores = queryScoreReader(deps.store);
  evaluationRoutes(app, deps, readScores);
  gateRoutes(app, deps, readScores);
  scheduleRoutes(app, deps);
  triggerRoutes(app, deps);
  hookRoutes(app, deps);
  fleetRoutes(app, deps);
  webhookRoutes(app, deps);
  codeHostRoutes(app, deps);
  costRoutes(app, deps);
  tokenRoutes(app, deps);
  secretRoutes(app, deps);
  viewRoutes(app, deps);
  sessionRoutes(app, deps);
  eventRoutes(app, deps);
  healthRoutes(app, deps);
  metricsRoute(app, deps.metricsPage, { role: 'viewer' });
  if (deps.dashboard !== null) await serveDashboard(app, deps.dashboard);
  await app.ready();
  return app;
}

/** The location of a key prefix for people: a path for a local store, else its URL without credentials. */
function locatorOf(storageUrl: string): (prefix: string) => string {
  const url = new URL(storageUrl);
  url.username = '';
  url.password = '';
  url.search = '';
  const base = withoutSlash(url.protocol === 'file:' ? fileURLToPath(url) : url.href);
  return (prefix) => `${base}/${prefix}`;
}

const withoutSlash = (text: string): string => text.replace(/\/$/, '');

import { maxBodyBytes } from '@cairn/contract';
import type { AdmissionSource, PrismaClient } from '@cairn/db';
import type { BuiltinRecipe, Engine } from '@cairn/engine';
import type { Logger, Metrics } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import { guardRoutes } from './auth/guard.ts';
import type { EventFeed } from './events/feed.ts';
import { type App, createApp } from './http/app.ts';
import { limitCallRates } from './load/call-rates.ts';
import type { LoadLimits } from './load/load-limits.ts';
import { shedLoad } from './load/shed-load.ts';
import { describeRoutes } from './openapi/describe-routes.ts';
import type { InspectSource } from './register-dataset.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { attemptFileRoutes } from './routes/attempt-files.ts';
import { attemptRoutes } from './routes/attempts.ts';
import { datasetRoutes } from './routes/datasets.ts';
import { eventRoutes } from './routes/events.ts';
import { fleetRoutes } from './routes/fleet.ts';
import { healthRoutes } from './routes/health.ts';
import { type MetricsPage, metricsRoute } from './routes/metrics.ts';
import { modelRoutes } from './routes/models.ts';
import { recipeRoutes } from './routes/recipes.ts';
import { runRoutes } from './routes/runs.ts';
import { stepRoutes } from './routes/steps.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { weightsRoutes } from './routes/weights.ts';
import type { ServerBounds } from './server-bounds.ts';
import type { WeightsQuota } from './weights-quota.ts';

/** Everything the public server works with; made by main.ts. */
export type ApiDeps = {
  prisma: PrismaClient;
  engine: Engine;
  feed: EventFeed;
  /** Why steps wait, shared between requests. */
  admission: AdmissionSource;
  recipes: ReadonlyMap<string, BuiltinRecipe>;
  /** Checks a dataset's files and digests them. */
  inspectSource: InspectSource;
  /** Where imported files are put, and where attempts leave files beside their results. */
  store: ObjectStore;
  /** Where a person finds a key prefix of the object store. */
  locate(prefix: string): string;
  load: LoadLimits;
  bounds: ServerBounds;
  metricsPage: MetricsPage;
  weightsQuota: WeightsQuota;
  log: Logger;
  metrics: Metrics;
  /** Time between two heartbeats of an event stream. */
  heartbeatMs: number;
};

/** The public server: /v1, health, metrics, OpenAPI and its page. Not yet listening. */
export async function buildApi(deps: ApiDeps): Promise<App> {
  const app = createApp({
    server: 'public',
    log: deps.log,
    metrics: deps.metrics,
    maxBodyBytes,
    connections: deps.bounds.connections,
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
  recipeRoutes(app, deps);
  weightsRoutes(app, deps);
  modelRoutes(app, deps);
  artifactRoutes(app, deps);
  fleetRoutes(app, deps);
  tokenRoutes(app, deps);
  eventRoutes(app, deps);
  healthRoutes(app, deps);
  metricsRoute(app, deps.metricsPage, { role: 'viewer' });
  await app.ready();
  return app;
}

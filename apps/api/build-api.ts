import { maxBodyBytes } from '@cairn/contract';
import { queryScoreReader } from '@cairn/judging';
import { guardRoutes } from './auth/guard.ts';
import { createApp } from './http/app.ts';
import type { App } from './http/bare-app.ts';
import { isPageRequest, serveDashboard } from './http/dashboard.ts';
import { limitCallRates } from './load/call-rates.ts';
import { shedLoad } from './load/shed-load.ts';
import { describeRoutes } from './openapi/describe-routes.ts';
import type { ApiDeps } from './routes/api-deps.ts';
import { artifactRoutes } from './routes/artifacts.ts';
import { attemptFileRoutes } from './routes/attempt-files.ts';
import { attemptRoutes } from './routes/attempts.ts';
import { codeHostRoutes } from './routes/code-hosts.ts';
import { costRoutes } from './routes/costs.ts';
import { datasetRoutes } from './routes/datasets.ts';
import { evaluationRoutes } from './routes/evaluations.ts';
import { eventRoutes } from './routes/events.ts';
import { fleetRoutes } from './routes/fleet.ts';
import { gateRoutes } from './routes/gates.ts';
import { healthRoutes } from './routes/health.ts';
import { hookRoutes } from './routes/hooks.ts';
import { imageRoutes } from './routes/images.ts';
import { metricsRoute } from './routes/metrics.ts';
import { modelFileRoutes } from './routes/model-files.ts';
import { modelRoutes } from './routes/models.ts';
import { recipeRoutes } from './routes/recipes.ts';
import { retentionRoutes } from './routes/retention.ts';
import { runRoutes } from './routes/runs.ts';
import { scheduleRoutes } from './routes/schedules.ts';
import { searchRoutes } from './routes/search.ts';
import { secretRoutes } from './routes/secrets.ts';
import { sessionRoutes } from './routes/session.ts';
import { stepRoutes } from './routes/steps.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { triggerRoutes } from './routes/triggers.ts';
import { viewRoutes } from './routes/views.ts';
import { webhookRoutes } from './routes/webhooks.ts';
import { weightsRoutes } from './routes/weights.ts';

/** The public server: /v1, health, metrics, OpenAPI and its page, the dashboard. Not yet listening. */
export async function buildApi(deps: ApiDeps): Promise<App> {
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

import type { PrismaClient } from '@cairn/db';
import type { Engine } from '@cairn/engine';
import type { Logger, Metrics } from '@cairn/runtime';
import { createApp } from './http/app.ts';
import type { App } from './http/bare-app.ts';
import type { ConnectionBounds } from './load/bound-connections.ts';
import type { LoadLimits } from './load/load-limits.ts';
import { shedLoad } from './load/shed-load.ts';
import { healthRoutes } from './routes/health.ts';
import { internalRoutes } from './routes/internal.ts';

/** The largest body of an attempt's call: a report of many log chunks, or the files of a large artifact. */
const maxBodyBytes = 8 * 1024 * 1024;

/** Well above a report of 512 KiB of points, or a result with 10,000 files. */
const bodyBounds = { values: 300_000, depth: 32 };

export type InternalApiDeps = {
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
export async function buildInternalApi(deps: InternalApiDeps): Promise<App> {
  const app = createApp({
    server: 'internal',
    log: deps.log,
    metrics: deps.metrics,
    maxBodyBytes,
    bodyBounds,
    connections: deps.connections,
  });
  shedLoad(app, deps.load, () => 'attempt');
  internalRoutes(app, deps);
  healthRoutes(app, deps);
  await app.ready();
  return app;
}

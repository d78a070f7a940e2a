import { join } from 'node:path';
import { openDatabase } from '@cairn/db';
import { createEngine, defaultLimits, loadRecipes } from '@cairn/engine';
import {
  createLogger,
  createMetrics,
  localAgentEnvironment,
  readConfiguration,
  readDatasetRoots,
  runMain,
  useProxies,
} from '@cairn/runtime';
import { openStore, removeFolder } from '@cairn/storage';
import { ensureBootstrapToken } from './auth/secrets.ts';
import { buildServers } from './build-servers.ts';
import { apiConfiguration, megabyte } from './configuration.ts';
import { createEventFeed } from './events/feed.ts';
import { openFileCache } from './file-cache.ts';
import { findDashboard } from './http/dashboard.ts';
import { awaitDatabase } from './http/problem.ts';
import { boundsOf } from './server-bounds.ts';

/** How long the database may take to answer at the start. */
const databaseLimitMs = 30_000;
/** Proxies close idle connections, some after 30 s. */
const heartbeatMs = 15_000;

await runMain({
  name: 'cairn api',
  async start({ closer, signal }) {
    const configuration = readConfiguration(apiConfiguration, process.env);
    useProxies(process.env);
    const log = createLogger({ name: 'api', level: configuration.CAIRN_LOG_LEVEL });
    const store = openStore(configuration.CAIRN_STORAGE_URL);
    const { prisma, close } = openDatabase({
      url: configuration.CAIRN_DATABASE_URL,
      connections: configuration.CAIRN_DATABASE_CONNECTIONS,
      onIdleError: (err) => log.warn({ err }, 'a database connection broke; reconnecting'),
    });
    closer.add('the database', close);
    const adminToken = configuration.CAIRN_ADMIN_TOKEN;
    await awaitDatabase(
      async () => {
        if (adminToken === undefined) return void (await prisma.$queryRaw`select 1`);
        const revokedAt = await ensureBootstrapToken(prisma, adminToken);
        if (revokedAt !== null) log.warn({ revokedAt }, 'CAIRN_ADMIN_TOKEN was revoked and is not valid; set a new one, or unset it');
      },
      {
        limitMs: databaseLimitMs,
        signal,
        log,
      },
    );

    const limits = {
      ...defaultLimits,
      hangSeconds: configuration.CAIRN_HANG_SECONDS,
      ownerRuns: configuration.CAIRN_OWNER_RUNS,
      projectRuns: configuration.CAIRN_PROJECT_RUNS,
      attemptLogBytes: configuration.CAIRN_ATTEMPT_LOG_MB * megabyte,
      runLogBytes: configuration.CAIRN_RUN_LOG_MB * megabyte,
      deliveryHosts: configuration.CAIRN_DELIVERY_HOSTS ?? null,
    };
    const ctx = { prisma, log, limits, recipes: await loadRecipes(), secretKeys: configuration.CAIRN_SECRETS_KEYS };
    const engine = createEngine(ctx, (prefix, except) => removeFolder(store, prefix, except));
    const feed = createEventFeed({ prisma, databaseUrl: configuration.CAIRN_DATABASE_URL, log });
    closer.add('the event feed', () => feed.close());
    const cache = await openFileCache({ maxBytes: configuration.CAIRN_CACHE_MB * megabyte });
    closer.add('the cache', () => cache.close());
    const { api, internal, metricsServer } = await buildServers(
      {
        prisma,
        engine,
        recipes: ctx.recipes,
        feed,
        connections: configuration.CAIRN_DATABASE_CONNECTIONS,
        store,
        bounds: boundsOf(configuration),
        serverKey: configuration.CAIRN_SERVER_KEY,
        datasetRoots: () => readDatasetRoots(configuration),
        cache,
        childEnvironment: localAgentEnvironment(process.env, () => false),
        log,
        metrics: createMetrics(),
        dashboard: findDashboard(join(import.meta.dirname, '../dashboard/dist')),
        heartbeatMs,
      },
      closer,
    );

    const internalAddress = await internal.listen({ host: configuration.CAIRN_INTERNAL_HOST, port: configuration.CAIRN_INTERNAL_PORT });
    if (configuration.CAIRN_METRICS_PORT !== undefined)
      await metricsServer.listen({ host: configuration.CAIRN_METRICS_HOST, port: configuration.CAIRN_METRICS_PORT });
    const address = await api.listen({ host: configuration.CAIRN_API_HOST, port: configuration.CAIRN_API_PORT });
    log.info({ address, internalAddress }, 'the api is up');
    return undefined;
  },
});

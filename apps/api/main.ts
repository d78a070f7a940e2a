import { openDatabase } from '@cairn/db';
import { createEngine, defaultLimits, loadRecipes, readCodeDigests } from '@cairn/engine';
import { createLogger, createMetrics, readConfiguration, runMain } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { createAdmissionCache } from './admission-cache.ts';
import { ensureBootstrapToken } from './auth/bootstrap-token.ts';
import { awaitDatabase } from './await-database.ts';
import { buildApi } from './build-api.ts';
import { buildInternalApi } from './build-internal-api.ts';
import { apiConfiguration } from './configuration.ts';
import { createEventFeed } from './events/feed.ts';
import { inspectSource } from './inspect-source.ts';
import { locatorOf, removerOf } from './storage-access.ts';

/** How long the database may take to answer at the start. */
const databaseLimitMs = 30_000;

await runMain({
  name: 'cairn api',
  async start({ closer, signal }) {
    const configuration = readConfiguration(apiConfiguration, process.env);
    const log = createLogger({ name: 'api', level: configuration.CAIRN_LOG_LEVEL });
    const store = openStore(configuration.CAIRN_STORAGE_URL);
    const { prisma, close } = openDatabase({
      url: configuration.CAIRN_DATABASE_URL,
      connections: configuration.CAIRN_DATABASE_CONNECTIONS,
      onIdleError: (err) => log.warn({ err }, 'a connection to the database broke'),
    });
    closer.add('the database', close);
    const adminToken = configuration.CAIRN_ADMIN_TOKEN;
    await awaitDatabase(
      () => (adminToken === undefined ? prisma.$queryRaw`select 1`.then(() => undefined) : ensureBootstrapToken(prisma, adminToken)),
      {
        limitMs: databaseLimitMs,
        signal,
        log,
      },
    );

    const engine = createEngine({ prisma, log, codeDigests: await readCodeDigests(), limits: defaultLimits }, removerOf(store));
    const feed = createEventFeed({ prisma, databaseUrl: configuration.CAIRN_DATABASE_URL, log });
    closer.add('the event feed', () => feed.close());
    const metrics = createMetrics();

    const api = await buildApi({
      prisma,
      engine,
      feed,
      admission: createAdmissionCache(prisma),
      recipes: await loadRecipes(),
      inspectSource,
      locate: locatorOf(configuration.CAIRN_STORAGE_URL),
      log,
      metrics,
    });
    closer.add('the public server', () => api.close());
    const internal = await buildInternalApi({ prisma, engine, serverKey: configuration.CAIRN_SERVER_KEY, log, metrics });
    closer.add('the internal server', () => internal.close());

    const internalAddress = await internal.listen({ host: configuration.CAIRN_INTERNAL_HOST, port: configuration.CAIRN_INTERNAL_PORT });
    const address = await api.listen({ host: configuration.CAIRN_API_HOST, port: configuration.CAIRN_API_PORT });
    log.info({ address, internalAddress }, 'the api is up');
    return undefined;
  },
});

import { openDatabase } from '@cairn/db';
import { createEngine, defaultLimits, loadRecipes, readCodeDigests } from '@cairn/engine';
import { createLogger, createMetrics, readConfiguration, readDatasetRoots, runMain, useProxies } from '@cairn/runtime';
import { openStore } from '@cairn/storage';
import { ensureBootstrapToken } from './auth/bootstrap-token.ts';
import { awaitDatabase } from './await-database.ts';
import { buildServers } from './build-servers.ts';
import { apiConfiguration } from './configuration.ts';
import { removerOf } from './storage-access.ts';

/** How long the database may take to answer at the start. */
const databaseLimitMs = 30_000;

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

    const limits = { ...defaultLimits, hangSeconds: configuration.CAIRN_HANG_SECONDS };
    const ctx = { prisma, log, codeDigests: await readCodeDigests(), limits, recipes: await loadRecipes() };
    const engine = createEngine(ctx, removerOf(store));
    const { api, internal } = await buildServers(
      {
        prisma,
        engine,
        recipes: ctx.recipes,
        databaseUrl: configuration.CAIRN_DATABASE_URL,
        store,
        serverKey: configuration.CAIRN_SERVER_KEY,
        datasetRoots: () => readDatasetRoots(configuration),
        log,
        metrics: createMetrics(),
      },
      closer,
    );

    const internalAddress = await internal.listen({ host: configuration.CAIRN_INTERNAL_HOST, port: configuration.CAIRN_INTERNAL_PORT });
    const address = await api.listen({ host: configuration.CAIRN_API_HOST, port: configuration.CAIRN_API_PORT });
    log.info({ address, internalAddress }, 'the api is up');
    return undefined;
  },
});

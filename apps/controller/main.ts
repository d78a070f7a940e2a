import { hostname } from 'node:os';
import { openDatabase } from '@cairn/db';
import { defaultLimits, loadRecipes } from '@cairn/engine';
import { queryScoreReader } from '@cairn/judging';
import { openQueues } from '@cairn/queue';
import {
  createLogger,
  datasetRootsEnvironment,
  localAgentEnvironment,
  readConfiguration,
  runMain,
  startProbes,
  useProxies,
} from '@cairn/runtime';
import { isStorageVariable, openStore } from '@cairn/storage';
import { agentEntry, configurationSchema } from './configuration.ts';
import { installationTokens } from './deliveries/github-app.ts';
import { controllerMetrics, readinessOf, watchApiHealth } from './health.ts';
import { runLeader, runLeaderElection } from './leader-loops.ts';
import type { ControllerParts } from './parts.ts';
import { attemptSlotsOf, openExecutor } from './pools.ts';
import { serveQueues } from './serve-queues.ts';

await runMain({
  name: 'cairn controller',
  start: async ({ closer, signal }) => {
    const config = readConfiguration(configurationSchema, process.env);
    useProxies(process.env);
    const log = createLogger({ name: 'controller', level: config.CAIRN_LOG_LEVEL });
    const onIdleError = (error: Error) => log.warn({ err: error }, 'a database connection broke; reconnecting');
    const database = openDatabase({ url: config.CAIRN_DATABASE_URL, connections: 8, onIdleError });
    closer.add('database', () => database.close());
    const place = {
      instance: config.CAIRN_INSTANCE,
      stateDir: config.CAIRN_STATE_DIR,
      command: [process.execPath, agentEntry, 'agent'],
      // A path of this machine: an image has a Python of its own.
      baseEnv: { ...localAgentEnvironment(process.env, isStorageVariable), CAIRN_PYTHON: config.CAIRN_PYTHON },
      log,
    };
    const executors = new Map(
      config.CAIRN_POOLS.map((pool) => {
        const executor = openExecutor(pool, place);
        closer.add(`executor of pool ${pool.name}`, () => executor.close());
        return [pool.name, executor] as const;
      }),
    );
    const queues = openQueues({ url: config.CAIRN_QUEUE_URL ?? config.CAIRN_DATABASE_URL, log, maxConnections: 6 });
    closer.add('queues', () => queues.close());
    const internalUrls = config.CAIRN_INTERNAL_URL.split(',');
    const limits = {
      ...defaultLimits,
      ownerRuns: config.CAIRN_OWNER_RUNS,
      projectRuns: config.CAIRN_PROJECT_RUNS,
      deliveryHosts: config.CAIRN_DELIVERY_HOSTS ?? null,
    };
    const store = openStore(config.CAIRN_STORAGE_URL);
    const parts: ControllerParts = {
      ctx: {
        prisma: database.prisma,
        log,
        limits,
        recipes: await loadRecipes(),
        secretKeys: config.CAIRN_SECRETS_KEYS,
      },
      databaseUrl: config.CAIRN_DATABASE_URL,
      queues,
      store,
      readScores: queryScoreReader(store),
      executors,
      pools: [
        ...config.CAIRN_POOLS.map((pool) => ({
          name: pool.name,
          executor: pool.executor,
          slots: pool.slots,
          attemptSlots: attemptSlotsOf(pool),
          gpuHourPrice: pool.gpuHourPrice ?? null,
        })),
        { name: 'tasks', executor: 'tasks', slots: config.CAIRN_TASK_SLOTS, attemptSlots: null },
      ],
      agentEnv: { CAIRN_STORAGE_URL: config.CAIRN_STORAGE_URL, ...datasetRootsEnvironment(config) },
      serverKey: config.CAIRN_SERVER_KEY,
      internalUrls,
      publicUrl: config.CAIRN_PUBLIC_URL ?? null,
      installationTokens: installationTokens(),
      log,
    };
    void serveQueues(parts, signal).catch((error: unknown) => log.error({ err: error }, 'the queue consumers failed to start'));
    const health = watchApiHealth(internalUrls, log);
    closer.add('api health', () => health.close());
    const leading = runLeaderElection({
      prisma: database.prisma,
      holder: `${hostname()}-${process.pid}-${crypto.randomUUID().slice(0, 8)}`,
      ttlMs: config.CAIRN_LEADER_TTL_MS,
      log,
      signal,
      lead: (leadership, end) => runLeader(parts, health, leadership, end),
    });
    closer.add('leader election', () => leading);
    const { CAIRN_PROBE_HOST: host, CAIRN_PROBE_PORT: port } = config;
    if (port !== undefined) {
      const probes = await startProbes({ host, port, checks: readinessOf(database.prisma, executors), metrics: controllerMetrics(closer) });
      closer.add('probes', () => probes.close());
    }
    return undefined;
  },
});

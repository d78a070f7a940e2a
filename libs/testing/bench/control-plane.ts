import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { createClient, createInternalClient } from '@cairn/client';
import { migrate, openDatabase } from '@cairn/db';
import { openQueues } from '@cairn/queue';
import { attemptToken, createCloser, createLogger, freePort, newId } from '@cairn/runtime';
import { familySeconds } from '../server-program.ts';
import { startPostgres } from '../start-postgres.ts';
import { findValkeyServer, startValkey } from '../start-valkey.ts';
import { waitFor } from '../wait-for.ts';

const root = path.join(import.meta.dirname, '../../..');
const serverKey = 'benchmark-key-benchmark-key-benchmark-key';
const token = 'cairn_benchmark-token-benchmark-token';

export type Backend = 'postgres' | 'redis';
export type ControlPlane = Awaited<ReturnType<typeof startControlPlane>>;

/**
 * PostgreSQL, optionally Valkey, the api and the controller as the real programs. Nothing consumes what they start: the benchmark
 * consumes the queue itself, where a worker would start the agent.
 */
export async function startControlPlane(backend: Backend, taskSlots: number) {
  const closer = createCloser();
  const folder = await mkdtemp(path.join(tmpdir(), 'cairn-bench-'));
  closer.add('folder', () => rm(folder, { recursive: true, force: true }));
  const postgres = await startPostgres();
  closer.add('PostgreSQL', () => postgres.stop());
  await migrate(postgres.url);
  const valkeyServer = () => findValkeyServer({ python: process.env.CAIRN_PYTHON, cacheDir: '' });
  const redis = backend === 'redis' ? await startValkey({ program: await valkeyServer() }) : null;
  if (redis) closer.add('Valkey', () => redis.stop());
  const queueUrl = redis?.url ?? postgres.url;
  const [port, internalPort] = [await freePort(), await freePort()];
  const internalUrl = `http://127.0.0.1:${internalPort}`;
  await mkdir(path.join(folder, 'storage'));
  const env = {
    PATH: process.env.PATH ?? '',
    CAIRN_DATABASE_URL: postgres.url,
    CAIRN_QUEUE_URL: queueUrl,
    CAIRN_STORAGE_URL: pathToFileURL(path.join(folder, 'storage')).href,
    CAIRN_SERVER_KEY: serverKey,
    CAIRN_SECRETS_KEYS: `k1:${serverKey}`,
    CAIRN_ADMIN_TOKEN: token,
    CAIRN_API_PORT: String(port),
    CAIRN_INTERNAL_PORT: String(internalPort),
    CAIRN_INTERNAL_URL: internalUrl,
    CAIRN_POOLS: '[{"name":"local","executor":"process","slots":2}]',
    CAIRN_TASK_SLOTS: String(taskSlots),
    CAIRN_STATE_DIR: path.join(folder, 'state'),
    CAIRN_PYTHON: 'python3',
    CAIRN_LOG_LEVEL: 'warn',
    // The service's own limit is measured, not the one that it sets its callers.
    CAIRN_TOKEN_RATE: '0',
    CAIRN_ADDRESS_RATE: '0',
    CAIRN_OWNER_RUNS: '0',
    CAIRN_PROJECT_RUNS: '0',
  };
  // Output at this level is a problem, and belongs next to the figures.
  const start = (program: string): ChildProcess => spawn(process.execPath, [path.join(root, program)], { env, stdio: ['ignore', 2, 2] });
  const end = async (child: ChildProcess): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit', { signal: AbortSignal.timeout(15_000) });
  };
  let api = start('apps/api/main.ts');
  closer.add('api', () => end(api));
  let controller = start('apps/controller/main.ts');
  closer.add('controller', () => end(controller));
  const { prisma, close } = openDatabase({ url: postgres.url, connections: 4 });
  closer.add('database', close);
  const queues = openQueues({ url: queueUrl, log: createLogger({ name: 'bench', level: 'error' }) });
  closer.add('queues', () => queues.close());
  const url = `http://127.0.0.1:${port}`;
  const client = createClient({ url, token });
  const ready = async () => (await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1_000) })).ok;
  await waitFor(() => ready().catch(() => false), { timeoutMs: 30_000, message: 'the api is ready' });
  await waitFor(async () => (await prisma.pool.count()) > 0, { timeoutMs: 30_000, message: 'the controller leads' });
  // A dataset whose files are never read: no step of it is ever executed here.
  const source = { kind: 'folder', root: folder, metadata: folder, countries: null };
  await prisma.dataset.create({
    data: {
      id: newId('dataset'),
      projectId: 'default',
      owner: 'bench',
      name: 'bench',
      version: 1,
      source,
      digest: '0'.repeat(64),
      digestBasis: 'none',
    },
  });
  return {
    backend,
    prisma,
    queues,
    queueUrl,
    client,
    /** Repeats nothing: a refusal counts as a refusal. */
    once: createClient({ url, token, tries: 1 }),
    /** Polls the health of both ports, as a kubelet does. */
    checkHealth: async (): Promise<void> => {
      const signal = AbortSignal.timeout(60_000);
      const probes = await Promise.all([fetch(`${url}/healthz`, { signal }), fetch(`${internalUrl}/readyz`, { signal })]);
      for (const probe of probes) await probe.body?.cancel();
    },
    /** Processor seconds that each program has used so far. */
    cpuSeconds: async (): Promise<Record<string, number>> => ({
      api: await familySeconds(api.pid ?? 0),
      ...(controller.signalCode === null && controller.exitCode === null ? { controller: await familySeconds(controller.pid ?? 0) } : {}),
      PostgreSQL: await familySeconds(postgres.pid()),
      ...(redis === null ? {} : { Valkey: await familySeconds(redis.pid()) }),
    }),
    /** Ends an attempt as its agent would, to free its slot. */
    endAttempt: async (attemptId: string, generation: number): Promise<void> => {
      const internal = createInternalClient({
        urls: [internalUrl],
        attemptId,
        generation,
        token: attemptToken(serverKey, attemptId, generation),
        signal: AbortSignal.timeout(60_000),
      });
      await internal.finish({ outcome: 'failed', cause: 'user', code: 'internal', message: 'the benchmark ends it' });
    },
    /** Kills the api and starts another one; its callers wait for it. */
    restartApi: async (): Promise<void> => {
      api.kill('SIGKILL');
      await once(api, 'exit');
      api = start('apps/api/main.ts');
    },
    killController: async (): Promise<void> => {
      controller.kill('SIGKILL');
      await once(controller, 'exit');
    },
    startController: (): void => {
      controller = start('apps/controller/main.ts');
    },
    close: () => closer.close(60_000),
  };
}

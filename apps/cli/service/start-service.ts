import { existsSync } from 'node:fs';
import { access, constants, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createClient } from '@cairn/client';
import { CairnError, isCairnError } from '@cairn/contract';
import { backoff, createCloser, createLogger, type EmbeddedPostgres, sleep, startEmbeddedPostgres } from '@cairn/runtime';
import { choosePorts, lockHome, openLog, openServiceHome, requireFree, type ServiceHome, writePrivate } from './service-home.ts';
import { type ProgramSpec, runToEnd, type SupervisedProgram, stopAgents, supervise } from './supervised-program.ts';

export type ServiceOptions = {
  home: string;
  /** Port of the API on 127.0.0.1; 0 chooses a free one. */
  port: number;
  /** Port for the agents; 0 chooses a free one. */
  internalPort: number;
  /** Slots of the local pool: the number of ranks and workers that run at a time. */
  slots: number;
  /** The price of an hour of one slot, for the ledger. */
  gpuHourPrice?: number;
  /** The trainer's Python interpreter. */
  python: string | undefined;
  /** Where objects are stored; by default in the home folder. */
  storageUrl?: string;
  /** Environment of the programs in addition to the service's: PATH, HOME, LANG and the like. */
  env: Readonly<Record<string, string | undefined>>;
  /** Called with one line about an event, such as a program that ended and is restarted. */
  onEvent: (line: string) => void;
  signal: AbortSignal;
};

/** The programs of a service, as they are started. */
export type ServicePrograms = {
  migrate: ProgramSpec;
  api: ProgramSpec;
  /** One is the leader, the others are spares. */
  controllers: [ProgramSpec, ...ProgramSpec[]];
  worker: ProgramSpec;
};

/** How a service is assembled; tests assemble it differently. */
export type Assembly = {
  /** Whether the database survives a power failure. */
  isDurable: boolean;
  arrange(programs: ServicePrograms): ServicePrograms;
};

const usual: Assembly = { isDurable: true, arrange: (programs) => programs };

export type Service = {
  /** Address of the API. */
  url: string;
  /** Address of the dashboard; null where it is not built. */
  dashboard: string | null;
  internalUrl: string;
  token: string;
  home: ServiceHome;
  postgres: EmbeddedPostgres;
  programs: readonly SupervisedProgram[];
  /** Stops everything in reverse order: controller and worker, agents, API, PostgreSQL. Runs continue at the next start. */
  close: () => Promise<void>;
};

const startLimitMs = 90_000;
const programGraceMs = 10_000;
const agentGraceMs = 15_000;
const closeLimitMs = 60_000;

const root = join(import.meta.dirname, '..', '..', '..');

/**
 * Starts the whole of Cairn on this machine: PostgreSQL, the migrations, api, controller and a worker, each as a separate
 * program that is restarted when it ends. Resolves when the API is ready.
 *
 * @throws CairnError `wrong_state` when another process runs the home, `port_in_use`, `invalid_configuration` (the Python
 *   interpreter), `program_failed` with the end of the program's log
 */
export async function startService(options: ServiceOptions, assembly: Assembly = usual): Promise<Service> {
  const closer = createCloser();
  const starting = new AbortController();
  const limit = AbortSignal.timeout(startLimitMs);
  try {
    return await start(options, assembly, closer, AbortSignal.any([options.signal, limit, starting.signal]));
  } catch (error) {
    // Everything that still waits for the start ends with it.
    starting.abort(error);
    await closer.close(closeLimitMs).catch((failure: Error) => options.onEvent(failure.message));
    if (options.signal.aborted || !limit.aborted) throw error;
    throw new CairnError('program_failed', `The service was not ready after ${startLimitMs / 1000} s`, {
      details: { remedy: `Its programs' logs are in ${join(options.home, 'logs')}.` },
      cause: error,
    });
  }
}

async function start(
  options: ServiceOptions,
  { isDurable, arrange }: Assembly,
  closer: ReturnType<typeof createCloser>,
  signal: AbortSignal,
): Promise<Service> {
  const python = await usablePython(options.python);
  const home = await openServiceHome(resolve(options.home));
  const lock = lockHome(home.lockFile, home.path);
  closer.add('lock', lock.release);
  const ports = await choosePorts({ api: options.port, internal: options.internalPort }, home.portsFile);
  const postgres = await startPostgres({ ...options, isDurable }, home, closer, signal);
  const url = `http://127.0.0.1:${ports.api}`;
  const internalUrl = `http://127.0.0.1:${ports.internal}`;
  const specs = arrange(programSpecs({ home, ports, postgres, python, internalUrl, options }));
  await runToEnd(specs.migrate, signal);

  const api = supervise(specs.api, options.onEvent);
  closer.add('api', () => api.stop(programGraceMs));
  closer.add('agents', () => stopAgents([home.poolStateDir, home.taskStateDir], agentGraceMs));
  const replicas = [...specs.controllers, specs.worker].map((spec) => supervise(spec, options.onEvent));
  closer.add('controllers and worker', () => Promise.all(replicas.map((program) => program.stop(programGraceMs))));
  const programs = [api, ...replicas];
  await Promise.race([untilReady(url, home.adminToken, signal), ...programs.map((program) => program.failed)]).catch(
    // Another program may have taken a port since it was checked.
    async (error: unknown) => {
      if (api.pid() === null && !signal.aborted) await requireFree(ports);
      throw error;
    },
  );
  for (const program of programs) program.started();

  lock.noteUrl(url);
  await writePrivate(home.clientFile, `${JSON.stringify({ url, token: home.adminToken }, null, 2)}\n`);
  closer.add('client file', () => rm(home.clientFile, { force: true }));
  const dashboard = existsSync(join(root, 'apps/dashboard/dist/index.html')) ? `${url}/` : null;
  return { url, dashboard, internalUrl, token: home.adminToken, home, postgres, programs, close: () => closer.close(closeLimitMs) };
}

async function startPostgres(
  options: Pick<ServiceOptions, 'onEvent' | 'signal'> & Pick<Assembly, 'isDurable'>,
  home: ServiceHome,
  closer: ReturnType<typeof createCloser>,
  signal: AbortSignal,
): Promise<EmbeddedPostgres> {
  const log = await openLog(home.logFile('up'));
  let isClosing = false;
  const restart = async (error: CairnError): Promise<void> => {
    options.onEvent(`${error.message.split('\n')[0]}; starting it again`);
    for (let attempt = 0; !isClosing; attempt += 1) {
      const isUp = await postgres.restart(options.signal).then(
        () => true,
        () => false,
      );
      if (isUp) return;
      await sleep(backoff({ attempt, baseMs: 500, maxMs: 10_000 }));
    }
  };
  const postgres = await startEmbeddedPostgres({
    dataDir: home.postgresDir,
    durable: options.isDurable,
    settings: { max_connections: 200 },
    log: createLogger({ name: 'up', destination: { write: (line) => void log.appendFile(line) } }),
    onCrash: (error) => void restart(error),
    signal,
  });
  closer.add('log', () => log.close());
  closer.add('PostgreSQL', () => {
    isClosing = true;
    return postgres.stop();
  });
  return postgres;
}

type Parts = {
  home: ServiceHome;
  ports: { api: number; internal: number };
  postgres: EmbeddedPostgres;
  python: string;
  internalUrl: string;
  options: ServiceOptions;
};

function programSpecs({ home, ports, postgres, python, internalUrl, options }: Parts): ServicePrograms {
  const all = {
    // With the compile cache, programs start in half the time.
    NODE_COMPILE_CACHE: join(home.path, 'compile-cache'),
    ...outerEnvironment(options.env),
    CAIRN_STORAGE_URL: options.storageUrl ?? pathToFileURL(home.storageDir).href,
    CAIRN_SERVER_KEY: home.serverKey,
    CAIRN_DATASET_ROOTS_FILE: home.datasetRootsFile,
  };
  const database = { CAIRN_DATABASE_URL: postgres.url };
  const queue = { CAIRN_QUEUE_URL: postgres.url };
  const sealing = { CAIRN_SECRETS_KEYS: home.secretsKeys };
  const launching = { CAIRN_INTERNAL_URL: internalUrl, CAIRN_PYTHON: python, CAIRN_TASK_SLOTS: '2' };
  const spec = (name: string, args: readonly string[], env: Record<string, string>): ProgramSpec => ({
    name,
    args: args.map((arg, index) => (index === 0 ? join(root, arg) : arg)),
    env: { ...all, ...env },
    logFile: home.logFile(name),
  });
  return {
    migrate: spec('migrate', ['libs/db/migrate.ts'], database),
    api: spec('api', ['apps/api/main.ts'], {
      ...database,
      ...sealing,
      CAIRN_ADMIN_TOKEN: home.adminToken,
      CAIRN_API_PORT: String(ports.api),
      CAIRN_INTERNAL_PORT: String(ports.internal),
    }),
    controllers: [
      spec('controller', ['apps/controller/main.ts'], {
        ...database,
        ...queue,
        ...sealing,
        ...launching,
        CAIRN_POOLS: JSON.stringify([{ name: 'local', executor: 'process', slots: options.slots, gpuHourPrice: options.gpuHourPrice }]),
        CAIRN_STATE_DIR: home.poolStateDir,
      }),
    ],
    worker: spec('worker', ['apps/worker/main.ts', 'tasks'], { ...queue, ...launching, CAIRN_STATE_DIR: home.taskStateDir }),
  };
}

/** The caller's environment without Cairn's own variables: those of another service would confuse the programs. */
function outerEnvironment(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = new Set(['CAIRN_LOG_LEVEL', 'CAIRN_HANG_SECONDS', 'CAIRN_PUBLIC_URL', 'CAIRN_DELIVERY_HOSTS', 'CAIRN_TRUSTED_PROXIES']);
  const entries = Object.entries(env).filter(([name]) => !name.startsWith('CAIRN_') || kept.has(name));
  return Object.fromEntries(entries.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

async function usablePython(path: string | undefined): Promise<string> {
  if (path === undefined || path === '') {
    throw new CairnError('invalid_configuration', 'CAIRN_PYTHON does not name the Python interpreter that trains', {
      details: { remedy: 'Start Cairn with `npm run demo`, `npm run dev` or the `cairn` command, which prepare one; or set CAIRN_PYTHON.' },
    });
  }
  try {
    await access(path, constants.X_OK);
    return path;
  } catch (error) {
    throw new CairnError('invalid_configuration', `The Python interpreter ${path} of CAIRN_PYTHON cannot be run`, {
      details: { remedy: 'Set CAIRN_PYTHON to an interpreter that has torch, or leave it out and let `npm run demo` prepare one.' },
      cause: error,
    });
  }
}

/** Uses our token: another program that took the port in the meantime may answer too, but does not accept it. */
async function untilReady(url: string, token: string, signal: AbortSignal): Promise<void> {
  const client = createClient({ url, token, tries: 1 });
  for (;;) {
    const isReady = await client.getFleet({ signal, timeoutMs: 2_000 }).then(
      () => true,
      (error: unknown) => {
        if (isCairnError(error, 'unavailable', 'unauthenticated', 'internal', 'rate_limited')) return false;
        throw error;
      },
    );
    if (isReady) return;
    await sleep(30, signal);
  }
}

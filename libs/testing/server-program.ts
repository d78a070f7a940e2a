import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, globSync } from 'node:fs';
import { glob, readdir, readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { endWithParent, sleep } from '@cairn/runtime';

type ServerProgramOptions = {
  /** Its name in messages. */
  name: string;
  program: string;
  args: readonly string[];
  /** Working folder and environment; this process's own by default. */
  place?: Pick<SpawnOptions, 'cwd' | 'env'>;
  /** Gets the server's output; a failed start prints its end. */
  logFile: string;
  /** Rejects while the server is not ready. */
  probe(): Promise<void>;
  startLimitMs: number;
};

type ServerProgram = {
  pid(): number;
  /** Starts it and waits until it is ready; throws with the end of its log when it exits or takes too long. */
  start(): Promise<void>;
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
};

/** A test server as a separate program, which can be stopped and started again; it does not outlive this process. */
export function serverProgram({ name, program, args, place, logFile, probe, startLimitMs }: ServerProgramOptions): ServerProgram {
  let child: ChildProcess | undefined;
  let watcher: { cancel(): void } | undefined;
  const hasEnded = () => child === undefined || child.exitCode !== null || child.signalCode !== null;

  async function untilReady(): Promise<void> {
    const end = Date.now() + startLimitMs;
    for (;;) {
      const failure = await probe().then(
        () => null,
        (error: unknown) => ({ error }),
      );
      if (failure === null) return;
      if (hasEnded() || Date.now() > end) {
        const log = await readFile(logFile, 'utf8').catch(() => '');
        const what = hasEnded() ? 'exited' : 'was not ready in time';
        child?.kill('SIGKILL');
        throw new Error(`${name} ${what}:\n${log.slice(-4000)}`, { cause: failure.error });
      }
      await sleep(10);
    }
  }

  return {
    pid: () => child?.pid ?? 0,
    async start() {
      child = spawn(program, [...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...place });
      const output = createWriteStream(logFile, { flags: 'a' });
      child.stdout?.pipe(output, { end: false });
      child.stderr?.pipe(output, { end: false });
      child.once('close', () => output.end());
      if (child.pid === undefined) throw new Error(`${program} cannot be started`);
      watcher = endWithParent(child.pid, 'KILL');
      await untilReady();
    },
    async end(signal) {
      if (child === undefined || hasEnded()) return;
      const gone = once(child, 'exit');
      child.kill(signal);
      await gone;
      watcher?.cancel();
    },
  };
}

/** Resource usage of a process: processor seconds so far, and resident memory in MiB now. Linux. */
export type Usage = { cpuSeconds: number; residentMiB: number };

const clockTicks = 100;

export async function usageOf(pid: number): Promise<Usage> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return { cpuSeconds: (await timesOf(pid)).own, residentMiB: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024 };
}

/** Processor seconds of a process and of its children, including those that have ended: PostgreSQL has one process per connection. */
export async function familySeconds(pid: number): Promise<number> {
  const { own, ended } = await timesOf(pid);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  // One that ends in the meantime is counted with the ended ones the next time.
  const others = await Promise.all(pids.map((other) => timesOf(other).catch(() => null)));
  return others.reduce((sum, other) => sum + (other?.parent === pid ? other.own + other.ended : 0), own + ended);
}

/** Of /proc/<pid>/stat (proc_pid_stat(5), fields 4 and 14 to 17): its own seconds and those of the children that it has waited for. */
async function timesOf(pid: number): Promise<{ parent: number; own: number; ended: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The command in parentheses may itself contain spaces.
  const [parent = 0, user = 0, system = 0, childUser = 0, childSystem = 0] = [1, 11, 12, 13, 14].map((field) =>
    Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[field]),
  );
  return { parent, own: (user + system) / clockTicks, ended: (childUser + childSystem) / clockTicks };
}

/** The environment of a program under test: PATH, and Node's compile cache, so that only the first start compiles. */
export function bareEnvironment(): Record<string, string> {
  const { PATH = '', NODE_COMPILE_CACHE } = process.env;
  return { PATH, ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }) };
}

/** Where to look for the programs that Python packages contain. */
export type PythonPlace = {
  /** A Python interpreter: only its environment is searched. */
  python: string | undefined;
  /** Where the bootstrap keeps its Python environments. */
  cacheDir: string;
};

/** The first file that matches the pattern, relative to the environment; of several environments the newest that has one. */
export async function findInPython({ python, cacheDir }: PythonPlace, pattern: string): Promise<string | undefined> {
  const roots = python ? [join(python, '..', '..')] : await newestFirst(join(cacheDir, 'python', '*'));
  for (const root of roots) for await (const path of glob(join(root, pattern))) return path;
  return undefined;
}

export function nameOfPlace({ python, cacheDir }: PythonPlace): string {
  return python ? `the Python environment of CAIRN_PYTHON=${python}` : `a Python environment under ${join(cacheDir, 'python')}`;
}

async function newestFirst(pattern: string): Promise<string[]> {
  const found: { path: string; time: number }[] = [];
  for await (const path of glob(pattern)) found.push({ path, time: (await stat(path)).mtimeMs });
  return found.sort((a, b) => b.time - a.time).map(({ path }) => path);
}

/** The interpreter with the packages of docker/trainer: CAIRN_PYTHON, or one of the bootstrap's in the user's cache. */
export function trainerPython(): string {
  const { CAIRN_PYTHON, XDG_CACHE_HOME } = process.env;
  const found = CAIRN_PYTHON || globSync(join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'cairn/python/*/bin/python'))[0];
  if (!found) throw new Error('set CAIRN_PYTHON to a Python interpreter that has torch, or run the tests by `npm test`');
  return found;
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { sep } from 'node:path';
import { CairnError } from '@cairn/contract';
import {
  backoff,
  endWithParent,
  killAttemptProcesses,
  type ProcessIdentity,
  pause,
  processesByAttempt,
  signalProcess,
  sleep,
} from '@cairn/runtime';
import { z } from 'zod';
import { cutTo } from '../output/table.ts';
import { openLog } from './service-home.ts';

export type ProgramSpec = {
  name: string;
  /** The file that node runs, and its arguments. */
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  logFile: string;
};

export type SupervisedProgram = {
  name: string;
  /** Null while it is not running. */
  pid: () => number | null;
  /** Rejects when the program is given up while `starting`: its exit code means a wrong configuration, or it keeps ending. */
  failed: Promise<never>;
  /** Call when the whole service is up: from then on the program is restarted without limit. */
  started: () => void;
  /** SIGTERM, and SIGKILL after `graceMs`. */
  stop: (graceMs: number) => Promise<void>;
};

/** How one run of a program ended, and where its output begins in the log. */
type ProgramEnd = { code: number | null; signal: string | null; from: number };

/** Exit code of our programs for a wrong configuration: a restart would not help. */
const wrongConfiguration = 2;
const triesAtStart = 3;
/** A program that ran this long has started well: the backoff starts over. */
const settledMs = 30_000;

/**
 * Keeps a program running: restarts it with backoff when it ends by itself. Its output goes to its log. It runs in its own
 * process group, so that Ctrl-C reaches only us and everything stops in order, and it ends when we are killed.
 */
export function supervise(spec: ProgramSpec, onEvent: (line: string) => void): SupervisedProgram {
  const stopping = new AbortController();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => undefined);
  let child: ChildProcess | null = null;
  let isStarting = true;

  async function runOnce(): Promise<ProgramEnd> {
    const log = await openLog(spec.logFile);
    const { size: from } = await log.stat();
    try {
      stopping.signal.throwIfAborted();
      child = spawn(process.execPath, [...spec.args], { env: spec.env, stdio: ['ignore', log.fd, log.fd], detached: true });
      const guard = child.pid === undefined ? null : endWithParent(child.pid, 'TERM');
      try {
        const [code, signal] = await once(child, 'exit');
        return { code, signal, from };
      } finally {
        guard?.cancel();
        child = null;
      }
    } finally {
      await log.close();
    }
  }

  async function run(): Promise<void> {
    let failures = 0;
    while (!stopping.signal.aborted) {
      const began = performance.now();
      const { code, signal, from } = await runOnce();
      if (stopping.signal.aborted) return;
      failures = performance.now() - began > settledMs ? 1 : failures + 1;
      const how = signal === null ? `ended with exit code ${code}` : `was killed by ${signal}`;
      if (isStarting && (code === wrongConfiguration || failures >= triesAtStart)) {
        failure.reject(await startFailure(spec, how, from));
        return;
      }
      onEvent(`${spec.name} ${how}; starting it again (log: ${spec.logFile})`);
      await pause(backoff({ attempt: failures - 1, baseMs: 200, maxMs: 10_000 }), stopping.signal);
    }
  }
  const running = run().catch((error: unknown) => {
    if (!stopping.signal.aborted) failure.reject(error);
  });

  return {
    name: spec.name,
    pid: () => child?.pid ?? null,
    failed: failure.promise,
    started: () => {
      isStarting = false;
    },
    stop: async (graceMs) => {
      stopping.abort();
      child?.kill('SIGTERM');
      const over = new AbortController();
      const kill = sleep(graceMs, over.signal).then(
        () => child?.kill('SIGKILL'),
        () => undefined,
      );
      await running;
      over.abort();
      await kill;
    },
  };
}

/** Runs a program to its end. Throws `program_failed` with the end of its log when it fails. */
export async function runToEnd(spec: ProgramSpec, signal: AbortSignal): Promise<void> {
  const log = await openLog(spec.logFile);
  const { size: from } = await log.stat();
  try {
    const child = spawn(process.execPath, [...spec.args], { env: spec.env, stdio: ['ignore', log.fd, log.fd], detached: true });
    const stop = (): boolean => child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    const [code] = await once(child, 'exit').finally(() => signal.removeEventListener('abort', stop));
    signal.throwIfAborted();
    if (code !== 0) throw await startFailure(spec, `ended with exit code ${code}`, from);
  } finally {
    await log.close();
  }
}

async function startFailure(spec: ProgramSpec, how: string, from: number): Promise<CairnError> {
  const tail = await logTail(spec.logFile, { from });
  return new CairnError('program_failed', `${spec.name} ${how} while the service started`, {
    details: { program: spec.name, log: spec.logFile, frame: tail, remedy: `Its log is ${spec.logFile}.` },
  });
}

/** A line of our programs' logs: pino's JSON. */
const logLine = z.object({ level: z.string(), msg: z.string().optional(), err: z.object({ message: z.string() }).optional() });

const maxWidth = 240;

/**
 * The last lines of a log for people, from byte `from` on: a JSON line as its level, message and error. Empty for a missing
 * file.
 */
export async function logTail(path: string, { from = 0, lines = 12 }: { from?: number; lines?: number } = {}): Promise<string> {
  const bytes = await readFile(path).catch(() => Buffer.alloc(0));
  const text = bytes.subarray(from).toString('utf8').trimEnd();
  return text.split('\n').slice(-lines).map(readableLine).join('\n');
}

function readableLine(line: string): string {
  const parsed = logLine.safeParse(jsonOrNull(line));
  if (!parsed.success) return cutTo(line, maxWidth);
  const { level, msg, err } = parsed.data;
  // Prisma starts its messages with the call; the error is the last line.
  const why = err?.message.trim().split('\n').at(-1);
  return cutTo([level, msg, why].filter((part) => part !== undefined && part !== '').join(': '), maxWidth);
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Ends the attempts whose work folders are below `stateDirs`: each agent is asked to save its work (SIGTERM) and has
 * `graceMs` for it; then all remaining processes are killed. Their steps continue when the service starts again.
 */
export async function stopAgents(stateDirs: readonly string[], graceMs: number): Promise<void> {
  const end = Date.now() + graceMs;
  for (const processes of attemptsBelow(stateDirs).values()) {
    // The oldest process of an attempt is its agent; the others are its children.
    const [agent] = processes;
    if (agent !== undefined) signalProcess(agent, 'SIGTERM');
  }
  while (attemptsBelow(stateDirs).size > 0 && Date.now() < end) await sleep(50);
  await killAttemptProcesses(attemptsBelow(stateDirs).keys(), { limitMs: 5_000 });
}

/** The processes of this machine's attempts that work below one of the folders. */
function attemptsBelow(stateDirs: readonly string[]): Map<string, ProcessIdentity[]> {
  const all = [...processesByAttempt()];
  return new Map(all.filter(([, processes]) => processes.some(({ pid }) => worksBelow(pid, stateDirs))));
}

function worksBelow(pid: number, stateDirs: readonly string[]): boolean {
  let environment: string;
  try {
    environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    // Gone in the meantime.
    return false;
  }
  const workDir = environment
    .split('\0')
    .find((entry) => entry.startsWith('CAIRN_WORK_DIR='))
    ?.slice('CAIRN_WORK_DIR='.length);
  return workDir !== undefined && stateDirs.some((folder) => workDir.startsWith(folder + sep));
}

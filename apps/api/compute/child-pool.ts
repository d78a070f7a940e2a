import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import type { z } from 'zod';
import { type ComputeJob, computeReply, fromComputeError } from './messages.ts';

export type ChildPoolOptions = {
  /** Most children, each with one job at a time. */
  size: number;
  /** A child that holds more memory than this is killed. */
  maxMemoryBytes: number;
  /** The environment of the children: without the secrets of this process. */
  env: Readonly<Record<string, string>>;
};

export type ChildPool = {
  /**
   * Has a child do the job; others wait for their turn. Rejects with the child's CairnError, or with {@link ChildKilled}.
   *
   * @param options.timeoutMs of the job, without its wait; the child has the same limit, and is killed a little later
   * @param options.signal kills the child when it is aborted: its reason is the rejection
   */
  ask<T>(job: ComputeJob, answer: z.ZodType<T>, options: { timeoutMs: number; signal?: AbortSignal }): Promise<T>;
  close(): Promise<void>;
};

/** The child ended before it answered: it held too much memory, took too long, or crashed. `message` is the end of a sentence. */
export class ChildKilled extends Error {
  constructor(how: string) {
    super(how);
    this.name = 'ChildKilled';
  }
}

const entry = join(import.meta.dirname, 'child.ts');
/** The native libraries take a second to load; then a child waits this long for the next job. */
const idleMs = 60_000;
const watchMs = 100;
/** A child that keeps its own limit answers with a better reason. */
const graceMs = 5_000;

/** Child processes for what must not run in this one. They start when they are needed, and end when they are not. */
export function createChildPool({ size, maxMemoryBytes, env }: ChildPoolOptions): ChildPool {
  const idle = new Map<ChildProcess, NodeJS.Timeout>();
  const all = new Set<ChildProcess>();
  const waiting: (() => void)[] = [];
  let busy = 0;
  let isClosed = false;

  function start(): ChildProcess {
    const child = fork(entry, [], { env: { ...env }, serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    all.add(child);
    child.once('exit', () => {
      all.delete(child);
      clearTimeout(idle.get(child));
      idle.delete(child);
    });
    return child;
  }

  function take(): ChildProcess {
    // The one that worked last: the others may end.
    const child = [...idle.keys()].at(-1);
    if (child === undefined) return start();
    clearTimeout(idle.get(child));
    idle.delete(child);
    return child;
  }

  function giveBack(child: ChildProcess): void {
    if (child.connected && child.exitCode === null && child.signalCode === null && !isClosed)
      idle.set(child, setTimeout(() => child.kill('SIGKILL'), idleMs).unref());
  }

  async function turn(): Promise<void> {
    if (busy >= size) await new Promise<void>((resolve) => waiting.push(resolve));
    else busy += 1;
  }

  return {
    async ask(job, answer, { timeoutMs, signal }) {
      await turn();
      try {
        if (isClosed) throw new CairnError('unavailable', 'The service is stopping; try again in a few seconds');
        signal?.throwIfAborted();
        const child = take();
        try {
          return answer.parse(await done(child, job, { maxMemoryBytes, timeoutMs: timeoutMs + graceMs, signal }));
        } finally {
          giveBack(child);
        }
      } finally {
        const next = waiting.shift();
        if (next === undefined) busy -= 1;
        else next();
      }
    },
    async close() {
      isClosed = true;
      const ended = [...all].map((child) => new Promise((resolve) => child.once('exit', resolve)));
      for (const child of all) child.kill('SIGKILL');
      await Promise.all(ended);
    },
  };
}

type Limits = { maxMemoryBytes: number; timeoutMs: number; signal: AbortSignal | undefined };

function done(child: ChildProcess, job: ComputeJob, { maxMemoryBytes, timeoutMs, signal }: Limits): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const kill = (why: unknown): void => {
    reject(why);
    child.kill('SIGKILL');
  };
  const timer = setTimeout(() => kill(new ChildKilled(`it took longer than ${timeoutMs / 1000} s`)), timeoutMs);
  const watch = setInterval(() => {
    if (memoryOf(child) > maxMemoryBytes) kill(new ChildKilled(`it needs more than ${Math.round(maxMemoryBytes / 1e6)} MB of memory`));
  }, watchMs);
  const onMessage = (message: unknown): void => {
    const reply = computeReply.parse(message);
    if ('error' in reply) reject(fromComputeError(reply.error));
    else resolve(reply.answer);
  };
  const onExit = (code: number | null, by: string | null): void =>
    reject(new ChildKilled(by === null ? `its process ended with exit code ${code}` : `its process was ended by ${by}`));
  const onError = (error: Error): void => reject(new ChildKilled(`its process cannot be started: ${error.message}`));
  const onAbort = (): void => kill(signal?.reason);
  child.on('message', onMessage).on('exit', onExit).on('error', onError);
  signal?.addEventListener('abort', onAbort, { once: true });
  // The exit event reports a child that is gone.
  child.send(job, () => undefined);
  return promise.finally(() => {
    clearTimeout(timer);
    clearInterval(watch);
    child.off('message', onMessage).off('exit', onExit).off('error', onError);
    signal?.removeEventListener('abort', onAbort);
  });
}

/** The resident memory of a process (proc_pid_statm(5): the second field, in pages of 4 KiB); 0 where it is not known. */
function memoryOf({ pid }: ChildProcess): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096;
  } catch {
    return 0;
  }
}

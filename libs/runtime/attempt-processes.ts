import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { identityOf, isAlive, type ProcessIdentity } from './process-record.ts';
import { sleep } from './waits.ts';

/**
 * The processes of this machine, by the attempt they belong to. Every process below an agent inherits CAIRN_ATTEMPT_ID
 * and keeps it when its parent dies or when it starts its own session, as torchrun's ranks do; neither the parent's
 * pid nor the process group finds those. Only processes of the same user are visible. Oldest first.
 */
export function processesByAttempt(): Map<string, ProcessIdentity[]> {
  const found = new Map<string, ProcessIdentity[]>();
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const attemptId = attemptOf(pid);
    const identity = attemptId === null ? null : identityOf(pid);
    if (attemptId === null || identity === null) continue;
    found.set(
      attemptId,
      [...(found.get(attemptId) ?? []), identity].toSorted((a, b) => a.startTicks - b.startTicks),
    );
  }
  return found;
}

export type KillOptions = {
  /** Processes to spare and not wait for: {@link sparedByAgent} where an agent ends what it started. */
  except?: readonly number[];
  /** How long to wait for the killed processes to disappear, in milliseconds. */
  limitMs: number;
  signal?: AbortSignal;
};

/**
 * The processes that an agent spares: itself, and the first process of its container, which also has the attempt's environment. That one
 * cannot be killed from inside the container, and ends when the agent has exited.
 */
export const sparedByAgent: readonly number[] = [process.pid, 1];

/**
 * Kills (SIGKILL) every process of the attempts and waits until they are gone. Returns the ids of the attempts that still
 * have a process after the limit: one that hangs in the kernel, on a dead file server or a GPU.
 */
export async function killAttemptProcesses(
  attemptIds: Iterable<string>,
  { except = [], limitMs, signal }: KillOptions,
): Promise<Set<string>> {
  const wanted = new Set(attemptIds);
  const end = Date.now() + limitMs;
  // A process that is exiting loses its environment first, and then no longer shows which attempt it belonged to.
  const struck = new Map<ProcessIdentity, string>();
  for (let empty = 0; ; ) {
    for (const [attemptId, processes] of processesByAttempt()) {
      if (!wanted.has(attemptId)) continue;
      for (const identity of processes) {
        if (except.includes(identity.pid)) continue;
        struck.set(identity, attemptId);
        signalProcess(identity, 'SIGKILL');
      }
    }
    for (const identity of struck.keys()) if (!isAlive(identity)) struck.delete(identity);
    const left = new Set(struck.values());
    // One empty listing may have missed a process that was forked with a lower pid while its parent, with a higher one, ended.
    empty = left.size === 0 ? empty + 1 : 0;
    if (empty === 2 || wanted.size === 0 || Date.now() >= end) return left;
    await sleep(10, signal);
  }
}

/** Sends the signal if this very process still runs; returns false otherwise. */
export function signalProcess(identity: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, name);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

function attemptOf(pid: number): string | null {
  let environment: string;
  try {
    environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    // Gone in the meantime, or another user's: not one of ours.
    return null;
  }
  const entry = environment.split('\0').find((line) => line.startsWith('CAIRN_ATTEMPT_ID='));
  return entry === undefined ? null : entry.slice('CAIRN_ATTEMPT_ID='.length);
}

/**
 * Ends the process `pid` with `signal` when this process ends, even by kill -9, when none of our code runs any more:
 * a shell waits for the end of a pipe that only this process holds open. Call `cancel` once `pid` has ended by itself,
 * because its number may be given to another process.
 */
export function endWithParent(pid: number, signal: 'INT' | 'TERM' | 'KILL' = 'INT'): { cancel(): void } {
  // In its own session, so that Ctrl-C at the terminal does not end the watcher before it can act.
  const watcher = spawn('/bin/sh', ['-c', 'read _; kill -"$2" "$1"', 'sh', String(pid), signal], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  watcher.on('error', () => undefined);
  watcher.unref();
  if (watcher.stdin instanceof Socket) watcher.stdin.unref();
  watcher.stdin.on('error', () => undefined);
  return { cancel: () => watcher.kill('SIGKILL') };
}

import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { CairnError } from '@cairn/contract';
import { isAlive, killAttemptProcesses, processesByAttempt, signalProcess, tailOf } from '@cairn/runtime';
import { type Executor, type Launched, type LaunchSpec, oneAtATime, type Snapshot } from '../executor.ts';
import { type AgentCommand, type AttemptFolder, attemptFolder, attemptFolders, launchAgent } from './launch-agent.ts';

export type ProcessExecutorOptions = AgentCommand & {
  /** The records and work folders are below `<stateDir>/process`. */
  stateDir: string;
  /** How often to check processes that are not our children. */
  pollMs?: number;
};

/** How long `observe` waits for killed processes to be gone: it checks again soon. */
const goneLimitMs = 2000;
/** How long a folder's removal waits for them before it fails: a busy disk delays the end of a process. */
const removeLimitMs = 10_000;
const logTailBytes = 16 * 1024;

/**
 * Runs attempts as processes of this machine (Linux). All state is in files, so that any executor with the
 * same `stateDir`, in this process or the next, sees and adopts them all.
 */
export function processExecutor(options: ProcessExecutorOptions): Executor {
  if (process.platform !== 'linux') {
    throw new CairnError(
      'invalid_configuration',
      `A pool of processes needs Linux (this is ${process.platform}): it follows processes through /proc`,
    );
  }
  const root = join(options.stateDir, 'process');
  mkdirSync(root, { recursive: true });
  const listeners = new Set<(attemptId: string) => void>();
  /** Attempts whose end the listeners have been notified of. */
  const notified = new Set<string>();
  /** Stops whose SIGTERM this executor has sent. */
  const asked = new Set<string>();
  const attempts = oneAtATime();
  let closed = false;

  const folderOf = (attemptId: string) => attemptFolder(root, attemptId);

  async function remove(folder: AttemptFolder): Promise<void> {
    const left = await killAttemptProcesses([folder.attemptId], { limitMs: removeLimitMs });
    if (left.size > 0) {
      throw new CairnError('unavailable', `Processes of ${folder.attemptId} outlive SIGKILL: its folder ${folder.path} is kept`);
    }
    await rm(folder.path, { recursive: true, force: true });
    notified.delete(folder.attemptId);
    asked.delete(folder.attemptId);
  }

  async function launch(spec: LaunchSpec, signal: AbortSignal): Promise<Launched> {
    const folder = folderOf(spec.attemptId);
    const started = folder.launch()?.record.generation ?? spec.generation;
    if (started > spec.generation) {
      throw new CairnError('superseded', `Generation ${started} of ${spec.attemptId} was started here; ${spec.generation} is too old`);
    }
    if (started < spec.generation) await remove(folder);
    const { identity, child } = await launchAgent(folder, spec, options, signal);
    child?.once('exit', (code, killedBy) => {
      // After `close` only the next executor may write; it notices the ended process too.
      if (closed || folder.launch() === null) return;
      folder.recordEnd({ code, signal: killedBy });
      notify(spec.attemptId);
    });
    const pid = identity?.pid ?? child?.pid ?? 0;
    return { place: placeOf(pid), handle: `${spec.attemptId}.${spec.generation}` };
  }

  function notify(attemptId: string): void {
    if (notified.has(attemptId)) return;
    notified.add(attemptId);
    for (const listener of listeners) listener(attemptId);
  }

  /** Sends what is due for a stop request: SIGTERM once, and after the deadline SIGKILL to every process. */
  async function pursueStop(folder: AttemptFolder): Promise<void> {
    const stop = folder.stop();
    const agent = folder.agent();
    if (stop === null || agent === null) return;
    if (!asked.has(folder.attemptId)) {
      asked.add(folder.attemptId);
      signalProcess(agent, 'SIGTERM');
    }
    if (Date.now() >= stop.deadline && isAlive(agent)) await killAttemptProcesses([folder.attemptId], { limitMs: 0 });
  }

  async function check(): Promise<void> {
    for (const folder of attemptFolders(root)) {
      if (notified.has(folder.attemptId)) continue;
      await pursueStop(folder);
      const agent = folder.agent();
      if (agent !== null && !isAlive(agent)) notify(folder.attemptId);
    }
  }

  let checking: Promise<void> | undefined;
  const timer = setInterval(() => {
    checking ??= check()
      // A folder that is being removed cannot be read; the next check sees it whole or not at all.
      .catch(() => undefined)
      .finally(() => {
        checking = undefined;
      });
  }, options.pollMs ?? 200);
  timer.unref();

  async function observe(signal: AbortSignal): Promise<Snapshot[]> {
    signal.throwIfAborted();
    const folders = attemptFolders(root).filter((folder) => folder.launch() !== null);
    if (folders.some((folder) => folder.agent() === null)) adoptOrphans(folders);
    const dead = folders.filter((folder) => isDead(folder)).map((folder) => folder.attemptId);
    const left = dead.length === 0 ? new Set<string>() : await killAttemptProcesses(dead, { limitMs: goneLimitMs, signal });
    // A process that could not be ended yet is reported again at the next check.
    for (const attemptId of left) notified.delete(attemptId);
    return folders.flatMap((folder) => {
      const snapshot = snapshotOf(folder, dead.includes(folder.attemptId), left.has(folder.attemptId));
      return snapshot === null ? [] : [snapshot];
    });
  }

  return {
    start: (spec, signal) => attempts.run(spec.attemptId, () => launch(spec, signal)),
    async stop(attemptId, { graceSeconds, reason }) {
      const folder = folderOf(attemptId);
      if (folder.launch() === null || isDead(folder)) return;
      const earlier = folder.stop();
      const deadline = Math.min(Date.now() + graceSeconds * 1000, earlier?.deadline ?? Number.POSITIVE_INFINITY);
      folder.recordStop({ deadline, reason });
      await pursueStop(folder);
    },
    observe,
    async isGone(attemptId, signal) {
      signal.throwIfAborted();
      return !processesByAttempt().has(attemptId);
    },
    capacity: async () => null,
    isWatching: () => !closed,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    forget: (attemptId) => attempts.run(attemptId, () => remove(folderOf(attemptId))),
    logs: (attemptId) => tailOf(folderOf(attemptId).logFile, logTailBytes),
    async close() {
      closed = true;
      clearInterval(timer);
      listeners.clear();
      await Promise.allSettled([attempts.settled(), checking]);
    },
  };
}

/** Finds the agents whose launcher was killed before it could record what it had spawned. */
function adoptOrphans(folders: AttemptFolder[]): void {
  const processes = processesByAttempt();
  for (const folder of folders) {
    const launch = folder.launch();
    const orphan = processes.get(folder.attemptId)?.[0];
    if (launch === null || orphan === undefined || folder.agent() !== null || isAlive(launch.record.launcher)) continue;
    folder.recordProcess(launch.number, orphan);
  }
}

/** True when the agent was started and no longer runs. */
function isDead(folder: AttemptFolder): boolean {
  const agent = folder.agent();
  return agent === null ? folder.isOver() : !isAlive(agent);
}

/** Null for an attempt whose launcher was killed before it spawned anything: nothing was started, `start` starts over. */
function snapshotOf(folder: AttemptFolder, isOver: boolean, hasRemains: boolean): Snapshot | null {
  const launch = folder.launch();
  if (launch === null) return null;
  const { attemptId, generation, name, launcher } = launch.record;
  const agent = folder.agent();
  if (agent === null && !isOver && !isAlive(launcher)) return null;
  const base = { attemptId, generation, name, place: placeOf(agent?.pid ?? 0), finding: null };
  if (!isOver) return { ...base, phase: 'running', exitCode: null, message: agent === null ? 'being started' : 'running' };
  if (hasRemains)
    return { ...base, phase: 'running', exitCode: null, message: 'the agent ended; processes that it left behind do not end' };
  const { code, signal } = folder.end();
  const how = code !== null ? `ended with code ${code}` : signal !== null ? `was killed by ${signal}` : 'vanished without a record';
  return { ...base, phase: 'exited', exitCode: code, message: `the agent ${how}` };
}

function placeOf(pid: number): string {
  return pid === 0 ? hostname() : `${hostname()} process ${pid}`;
}

import type { FailureSignal, Finding, PoolRoom } from '@cairn/contract';

/** What an executor runs: one attempt of one step. */
export type LaunchSpec = {
  attemptId: string;
  /** Increases when the control plane gives the attempt up and launches it again; the older one's processes are ended first. */
  generation: number;
  /** For people: run, step and ordinal. */
  name: string;
  /** Slots of the pool (GPUs or CPU slots) that it holds. */
  slots: number;
  /** Environment variables of the agent: its token and the addresses it calls. */
  env: Readonly<Record<string, string>>;
  /** Shared memory used by the loader processes of a training step: sizes /dev/shm of a pod. */
  loaderBytes?: number;
  /** Nodes on which earlier attempts of the step ended because of the node. */
  avoidNodes?: readonly string[];
};

export type Launched = {
  /** For people: host and process, container or pod. */
  place: string;
  /** The executor's own name for what it started. */
  handle: string;
};

/** The state of one attempt as its executor sees it. */
export type Snapshot = {
  attemptId: string;
  generation: number;
  name: string;
  /** `pending`: no process of it runs yet. `exited`: proof that no process of the attempt runs any more. */
  phase: 'pending' | 'running' | 'exited';
  /** The agent's exit code; null while it runs, and when it was killed or vanished without reporting one. */
  exitCode: number | null;
  place: string;
  /** The machine, where there are several and a later attempt can avoid it. */
  node?: string;
  /** One sentence for people. */
  message: string;
  /**
   * Why it waits, what is wrong around it, or why it ended, where the executor can tell; `assess` of the domain decides what
   * that means. Null when all is well, and after an end that the exit code fully explains.
   */
  finding: Finding | null;
};

export type StopRequest = {
  /** The agent has this long to save its work; then every process of the attempt is killed. */
  graceSeconds: number;
  reason: string;
};

/** A kind of place where attempts run: local processes, containers, pods. All follow the same rules. */
export type Executor = {
  /**
   * Starts the attempt. Idempotent: the same attempt and generation again adopts what was started before, even if the caller was
   * killed halfway and even if it has exited: there are never two. Throws `superseded` when a newer generation was
   * started, `invalid_configuration` when the agent's program cannot be started.
   */
  start(spec: LaunchSpec, signal: AbortSignal): Promise<Launched>;
  /**
   * Asks the agent to end (SIGTERM) and, after the grace period, kills every process of the attempt; waits for neither. The
   * request outlives this executor. Does nothing when nothing runs.
   */
  stop(attemptId: string, request: StopRequest): Promise<void>;
  /**
   * Every attempt that was started and not forgotten. Also ends processes that a dead agent left behind. Throws `unavailable` when
   * the state cannot be determined.
   */
  observe(signal: AbortSignal): Promise<Snapshot[]>;
  /** True with proof that no process of the attempt is left: queried directly, where `observe` answers from what was reported. */
  isGone(attemptId: string, signal: AbortSignal): Promise<boolean>;
  /**
   * How many more attempts the place can hold now, and why; null when only its configured slots limit it.
   *
   * @param live attempts that should run there, started or not: those without a place yet will take the first ones
   * @param loaderBytes the maximum that one of the attempts to start needs; 0 by default
   */
  capacity(signal: AbortSignal, live: ReadonlySet<string>, loaderBytes?: number): Promise<PoolRoom | null>;
  /** False while changes may be missed: the executor is not ready. */
  isWatching(): boolean;
  /** Calls `listener` when the phase of an attempt has changed: a reason to observe. Returns the function that unsubscribes. */
  onChange(listener: (attemptId: string) => void): () => void;
  /** Removes all traces of an attempt whose end is recorded, including its work folder; kills what still runs of it. */
  forget(attemptId: string): Promise<void>;
  /** The last output of the agent's process itself: the only log when it never reported. */
  logs(attemptId: string): Promise<string>;
  /** Stops watching. What runs continues; the next executor with the same state adopts it. */
  close(): Promise<void>;
};

/** Runs one task at a time per key, in the order of the calls; tasks of different keys run in parallel. */
export function oneAtATime() {
  const busy = new Map<string, Promise<unknown>>();
  return {
    /** Only its own caller gets a failure: the next task runs. */
    async run<T>(key: string, work: () => Promise<T>): Promise<T> {
      const before = busy.get(key) ?? Promise.resolve();
      const mine = before.then(work, work);
      busy.set(key, mine);
      try {
        return await mine;
      } finally {
        if (busy.get(key) === mine) busy.delete(key);
      }
    },
    /** Waits for all work in progress, however it ends. */
    async settled(): Promise<void> {
      await Promise.allSettled(busy.values());
    },
  };
}

type Limits = { deadlineSeconds?: number | undefined; graceSeconds: number };

/** For what an agent does before it starts counting its deadline, and after its grace period. */
const marginSeconds = 5;

/**
 * The finding for an attempt that still exists although its deadline and grace period are over. The agent counts them itself, and ends
 * with a checkpoint: this is for one that does not. Pure: times are in milliseconds since the epoch.
 */
export function overdue(
  { deadlineSeconds, graceSeconds }: Limits,
  startedAt: number | null,
  now: number,
): { signal: FailureSignal; since: number; message: string } | null {
  if (deadlineSeconds === undefined || startedAt === null) return null;
  const since = startedAt + (deadlineSeconds + graceSeconds + marginSeconds) * 1000;
  return now < since ? null : { signal: 'deadline_exceeded', since, message: `${deadlineSeconds} s, and its grace period is over` };
}

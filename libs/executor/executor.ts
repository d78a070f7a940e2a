import type { Finding, PoolRoom } from '@cairn/contract';

/** What an executor is to run: one attempt of one step. */
export type LaunchSpec = {
  attemptId: string;
  /** Counts up when the control plane gives the attempt up and launches it anew; the older one's processes are ended first. */
  generation: number;
  /** For people: run, step and ordinal. */
  name: string;
  /** Slots of the pool (GPUs, or CPU places) that it holds. */
  slots: number;
  /** Environment variables of the agent: its token, the addresses it calls. */
  env: Readonly<Record<string, string>>;
  /** What the loader processes of a training step keep in shared memory: sizes /dev/shm of a pod. */
  loaderBytes?: number;
  /** Nodes on which earlier attempts of the step ended for a fault of the node. */
  avoidNodes?: readonly string[];
};

export type Launched = {
  /** For people: host and process, container or pod. */
  place: string;
  /** The executor's own name of what it started. */
  handle: string;
};

/** What an executor sees of one attempt. */
export type Snapshot = {
  attemptId: string;
  generation: number;
  name: string;
  /** `pending`: nothing of it runs yet. `exited`: proof that nothing of the attempt runs any more. */
  phase: 'pending' | 'running' | 'exited';
  /** The agent's exit code; null while it runs, and when it was killed or vanished without saying. */
  exitCode: number | null;
  place: string;
  /** The machine, where there are several and a later attempt can avoid it. */
  node?: string;
  /** One sentence for people. */
  message: string;
  /**
   * Why it waits, what is wrong around it, or why it ended, where the executor can tell; `assess` of the domain says what
   * that means. Null when all is well, and after an end of which the exit code says everything.
   */
  finding: Finding | null;
};

export type StopRequest = {
  /** The agent has this long to save what it can; then everything of the attempt is killed. */
  graceSeconds: number;
  reason: string;
};

/** A kind of place where attempts run: local processes, containers, pods. All hold to the same rules. */
export type Executor = {
  /**
   * Starts the attempt. The same attempt and generation again adopts what was started before, also after the caller was
   * killed half way, and also when that has exited: there are never two. Throws `superseded` when a newer generation was
   * started, `invalid_configuration` when the agent's program cannot be started.
   */
  start(spec: LaunchSpec, signal: AbortSignal): Promise<Launched>;
  /**
   * Asks the agent to end (SIGTERM) and, after the grace, kills everything of the attempt; does not wait for either. The
   * request outlives this executor. No change when nothing runs.
   */
  stop(attemptId: string, request: StopRequest): Promise<void>;
  /**
   * Everything that was started and not forgotten. Also ends what a dead agent left behind. Throws `unavailable` when it
   * cannot know.
   */
  observe(signal: AbortSignal): Promise<Snapshot[]>;
  /** True with proof that nothing of the attempt is left: looked up anew, where `observe` answers from what it was told. */
  isGone(attemptId: string, signal: AbortSignal): Promise<boolean>;
  /**
   * How many more attempts the place can hold now, and why; null when its configured slots are all there is to know.
   *
   * @param live attempts that are to run there, started or not: those that have no place yet will take the first ones
   * @param loaderBytes the most that one of the attempts to start needs; 0 unless given
   */
  capacity(signal: AbortSignal, live: ReadonlySet<string>, loaderBytes?: number): Promise<PoolRoom | null>;
  /** False while changes may go by unseen: the executor is not ready. */
  isWatching(): boolean;
  /** Calls `listener` when the phase of an attempt has changed: a reason to observe. Gives the function that ends this. */
  onChange(listener: (attemptId: string) => void): () => void;
  /** Removes all trace of an attempt whose end is recorded, its work folder too; what still runs of it is killed. */
  forget(attemptId: string): Promise<void>;
  /** The last of what the agent's process itself printed: what there is to read when it never reported. */
  logs(attemptId: string): Promise<string>;
  /** Stops watching. What runs goes on; the next executor with the same state adopts it. */
  close(): Promise<void>;
};

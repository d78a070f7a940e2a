import type { EngineContext, Leadership, PoolRecord } from '@cairn/engine';
import type { Executor } from '@cairn/executor';
import type { ReadQueryScores } from '@cairn/judging';
import type { Queues } from '@cairn/queue';
import type { Logger } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';
import type { InstallationTokens } from './deliveries/github-app.ts';

/** The parts of a controller. */
export type ControllerParts = {
  ctx: EngineContext;
  databaseUrl: string;
  queues: Queues;
  store: ObjectStore;
  readScores: ReadQueryScores;
  /** Executors by pool. */
  executors: ReadonlyMap<string, Executor>;
  /** Every pool in order of preference, `tasks` among them. */
  pools: readonly PoolRecord[];
  /** Environment variables of every agent. */
  agentEnv: Readonly<Record<string, string>>;
  serverKey: string;
  internalUrls: readonly string[];
  /** The address of the service for people, for links in reports; null where it is not set. */
  publicUrl: string | null;
  /** Tokens of code hosts that are reported to as a GitHub App. */
  installationTokens: InstallationTokens;
  log: Logger;
};

/** The parts of a controller while it leads. */
export type LeaderParts = ControllerParts & { lead: Leadership; signal: AbortSignal };

/** Runs `work` on demand, never twice at the same time; any number of calls during a run cause one more run. */
type Trigger = {
  fire(): void;
  /** Stops it; resolves when the run in progress has ended. */
  close(): Promise<void>;
};

type TriggerOptions = {
  work(): Promise<void>;
  onError(error: unknown): void;
  /** Also fires at this interval. */
  everyMs: number;
};

export function createTrigger({ work, onError, everyMs }: TriggerOptions): Trigger {
  let closed = false;
  let again = false;
  let running: Promise<void> | null = null;
  const fire = () => {
    if (closed) return;
    if (running) {
      again = true;
      return;
    }
    running = work()
      .catch(onError)
      .finally(() => {
        running = null;
        if (!again) return;
        again = false;
        fire();
      });
  };
  const timer = setInterval(fire, everyMs);
  return {
    fire,
    close: async () => {
      closed = true;
      clearInterval(timer);
      await running;
    },
  };
}

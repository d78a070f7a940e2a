import type { EngineContext, Leadership, PoolRecord } from '@cairn/engine';
import type { Executor } from '@cairn/executor';
import type { Queues } from '@cairn/queue';
import type { Logger } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';

/** What the controller is made of. */
export type ControllerParts = {
  ctx: EngineContext;
  databaseUrl: string;
  queues: Queues;
  store: ObjectStore;
  /** Executors by pool. */
  executors: ReadonlyMap<string, Executor>;
  /** Every pool in order of preference, `tasks` among them. */
  pools: readonly PoolRecord[];
  /** Environment that every agent gets. */
  agentEnv: Readonly<Record<string, string>>;
  serverKey: string;
  internalUrls: readonly string[];
  log: Logger;
};

/** The parts during one reign. */
export type LeaderParts = ControllerParts & { lead: Leadership; signal: AbortSignal };

import type { EngineContext, Leadership, PoolRecord } from '@cairn/engine';
import type { Executor } from '@cairn/executor';
import type { Queues } from '@cairn/queue';
import type { Logger } from '@cairn/runtime';
import type { ObjectStore } from '@cairn/storage';

/** The parts of a controller. */
export type ControllerParts = {
  ctx: EngineContext;
  databaseUrl: string;
  queues: Queues;
  store: ObjectStore;
  /** Executors by pool. */
  executors: ReadonlyMap<string, Executor>;
  /** Every pool in order of preference, `tasks` among them. */
  pools: readonly PoolRecord[];
  /** Environment variables of every agent. */
  agentEnv: Readonly<Record<string, string>>;
  serverKey: string;
  internalUrls: readonly string[];
  log: Logger;
};

/** The parts of a controller while it leads. */
export type LeaderParts = ControllerParts & { lead: Leadership; signal: AbortSignal };

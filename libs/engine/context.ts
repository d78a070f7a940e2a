import type { PrismaClient } from '@cairn/db';
import type { Logger } from '@cairn/runtime';
import type { BuiltinRecipe } from './recipes.ts';

/** What every command of the engine works with. */
export type EngineContext = {
  prisma: PrismaClient;
  log: Logger;
  limits: EngineLimits;
  /** The built-in recipes by name. */
  recipes: ReadonlyMap<string, BuiltinRecipe>;
};

export type EngineLimits = {
  /** A report at least this often. */
  heartbeatSeconds: number;
  /** A shard belongs to its attempt this long after the attempt's newest report. */
  leaseSeconds: number;
  /** No progress for this long is a hang. */
  hangSeconds: number;
  /** What an attempt may take to save its work when it is asked to stop. */
  graceSeconds: number;
  /** Runs that are not over, of one owner and of a project; 0: any number. */
  ownerRuns: number;
  projectRuns: number;
  /** Bytes that are kept of the log of one attempt, and of those of a run together; 0: all. */
  attemptLogBytes: number;
  runLogBytes: number;
};

export const defaultLimits: EngineLimits = {
  heartbeatSeconds: 2,
  leaseSeconds: 15,
  hangSeconds: 600,
  graceSeconds: 30,
  ownerRuns: 2_000,
  projectRuns: 10_000,
  attemptLogBytes: 64_000_000,
  runLogBytes: 512_000_000,
};

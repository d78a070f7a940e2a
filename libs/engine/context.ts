import type { PrismaClient } from '@cairn/db';
import type { Logger } from '@cairn/runtime';
import type { BuiltinRecipe } from './recipes.ts';

/** The dependencies of every engine command. */
export type EngineContext = {
  prisma: PrismaClient;
  log: Logger;
  limits: EngineLimits;
  /** The built-in recipes by name. */
  recipes: ReadonlyMap<string, BuiltinRecipe>;
};

export type EngineLimits = {
  /** An attempt reports at least this often. */
  heartbeatSeconds: number;
  /** A shard's lease lasts this long after the attempt's newest report. */
  leaseSeconds: number;
  /** An attempt without progress for this long hangs. */
  hangSeconds: number;
  /** How long an attempt may take to save its work when it is asked to stop. */
  graceSeconds: number;
  /** Most live runs of one owner and of a project; 0: unlimited. */
  ownerRuns: number;
  projectRuns: number;
  /** Most bytes to keep of the log of one attempt, and of all logs of a run; 0: unlimited. */
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

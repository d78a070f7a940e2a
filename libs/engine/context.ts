import type { StepKind } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import type { Logger } from '@cairn/runtime';
import type { BuiltinRecipe } from './recipes.ts';

/** What every command of the engine works with. */
export type EngineContext = {
  prisma: PrismaClient;
  log: Logger;
  /** Digest of the program that does each kind of step: part of every memo key. */
  codeDigests: Record<StepKind, string>;
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
};

export const defaultLimits: EngineLimits = { heartbeatSeconds: 2, leaseSeconds: 15, hangSeconds: 600, graceSeconds: 30 };

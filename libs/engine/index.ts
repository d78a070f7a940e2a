export { stagingPrefix } from './attempts/spec.ts';
export { type AuditChange, audit } from './audit.ts';
export { defaultLimits, type EngineContext, type EngineLimits } from './context.ts';
export { createEngine } from './create-engine.ts';
export type { Actor, Engine } from './engine.ts';
export {
  artifactReady,
  dropStaging,
  type Finalization,
  finalizationDelayed,
  finalizationFailed,
  pendingFinalization,
  stepsToFinalize,
} from './finalize.ts';
export { beginLaunch, createAttempts, recordLaunchFailure, recordPlace, shrink } from './leader/launch.ts';
export { acquireLead, assertLead, type Leadership, releaseLead } from './leader/leadership.ts';
export {
  attemptGone,
  type FindingChange,
  isLive,
  markSilent,
  recordFindings,
  type WatchedAttempt,
  watchedAttempts,
} from './leader/observe.ts';
export { attemptsToQueue, drainOutbox, type OutboxEntry, unsettledRuns } from './leader/outbox.ts';
export { type PoolRecord, recordPools, recordRoom } from './leader/pools.ts';
export { type BuiltinRecipe, findRecipe, loadRecipes } from './recipes.ts';
export { settleRun } from './with-run.ts';

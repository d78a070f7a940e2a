export { stagingPrefix } from './attempts/spec.ts';
export { type AuditChange, audit } from './audit.ts';
export { noteBudgets } from './budgets.ts';
export { createEngine } from './create-engine.ts';
export { type Actor, defaultLimits, type Engine, type EngineContext, type EngineLimits } from './engine.ts';
export {
  artifactReady,
  dropStaging,
  type Finalization,
  finalizationDelayed,
  finalizationFailed,
  pendingFinalization,
  stepsToFinalize,
} from './finalize.ts';
export { collectWhenDue, type RemovePrefix } from './garbage.ts';
export { unsettledGroups } from './groups.ts';
export {
  attemptsToQueue,
  beginLaunch,
  createAttempts,
  drainOutbox,
  type OutboxEntry,
  recordLaunchFailure,
  recordPlace,
  shrink,
  unsettledRuns,
} from './leader/launch.ts';
export { acquireLead, assertLead, type Leadership, type PoolRecord, recordPools, recordRoom, releaseLead } from './leader/leadership.ts';
export {
  attemptGone,
  type FindingChange,
  isLive,
  markSilent,
  recordFindings,
  type WatchedAttempt,
  watchedAttempts,
} from './leader/observe.ts';
export { type BuiltinRecipe, findRecipe, loadRecipes } from './recipes.ts';
export { readRetention } from './retention.ts';
export { settleGroup, settleRun } from './with-run.ts';

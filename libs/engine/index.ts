export { stagingPrefix } from './attempts/spec.ts';
export { type AuditChange, audit } from './audit.ts';
export { noteBudgets } from './budgets.ts';
export { createEngine } from './create-engine.ts';
export { type ReportBody, reportBody } from './deliveries/reports.ts';
export {
  type ClaimedDelivery,
  claimDelivery,
  type DeliveryOutcome,
  type DueDelivery,
  dueDeliveries,
  isClaimed,
  leaseMs,
  recordDelivery,
  trimDeliveries,
} from './deliveries/sending.ts';
export { type Actor, defaultLimits, type Engine, type EngineContext, type EngineLimits } from './engine.ts';
export { awaitBaseline } from './evaluate-baseline.ts';
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
export { serveTimers } from './leader/timers.ts';
export { type BuiltinRecipe, findRecipe, loadRecipes } from './recipes.ts';
export { readRetention } from './retention.ts';
export { type DueJudgement, dueJudgement, gateDelayed, gateJudged, gateRefused, judgementsDue } from './run-gate.ts';
export { addSecret, openSecrets, removeSecrets, replaceSecret, type SecretOwner } from './sealed-secrets.ts';
export type { BoundTrigger, SignedDelivery } from './triggers/bound-trigger.ts';
export { removeOldDeliveries, startAcceptedDeliveries } from './triggers/start-deliveries.ts';
export { settleGroup, settleRun, unsettledGroups } from './with-run.ts';

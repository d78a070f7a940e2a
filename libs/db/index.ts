export * from './client.ts';
export { Prisma, PrismaClient, type Token } from './generated/client.ts';
export * from './listen.ts';
export { migrate, openSchemaEngine } from './migrate.ts';
export { listAudit, listTokens, tokenViewOf } from './read/administration.ts';
export { readAttention } from './read/attention.ts';
export { type BudgetUse, isOfBudget, monthOf, readBudgets } from './read/budgets.ts';
export {
  currentAliases,
  datasetViewOf,
  getArtifact,
  getDataset,
  getWeights,
  listAliases,
  listAliasMoves,
  listDatasets,
  listModels,
  listModelVersions,
  listWeights,
  versionNamed,
  weightsViewOf,
} from './read/catalogue.ts';
export { listCheckpoints } from './read/checkpoints.ts';
export { type FoundEvaluation, findEvaluation, listJudgements } from './read/evaluations.ts';
export { getRun } from './read/get-run.ts';
export { readLedger } from './read/ledger.ts';
export { listEvents, readEvents } from './read/list-events.ts';
export { listRuns } from './read/list-runs.ts';
export { readLogLines, searchLog } from './read/log-lines.ts';
export { decodeCursor, encodeCursor } from './read/page-cursor.ts';
export { readLog } from './read/read-log.ts';
export { readMetrics } from './read/read-metrics.ts';
export type { AdmissionSource } from './read/step-views.ts';
export { getAttempt, getStep, listAttempts, listShards } from './read/steps.ts';
export { readTimeline } from './read/timeline.ts';
export { type AdmissionView, type Leader, loadAdmission, loadFleet, loadLeader, loadWaiting, type Waiting } from './read/waiting.ts';

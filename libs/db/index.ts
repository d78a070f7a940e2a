export * from './client.ts';
export { Prisma, PrismaClient, type Schedule, type Timer, type Token } from './generated/client.ts';
export { migrate, openSchemaEngine } from './migrate.ts';
export { listAudit, listTokens, tokenViewOf } from './read/administration.ts';
export { readAttention } from './read/attention.ts';
export {
  type ArtifactFile,
  currentAliases,
  datasetViewOf,
  fileOfArtifact,
  findLists,
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
export { readDatasetUsage } from './read/dataset-usage.ts';
export {
  datasetOfRun,
  type FoundEvaluation,
  findBaselineEvaluations,
  findEvaluation,
  listJudgements,
  loadLineage,
  type MadeArtifact,
  modelsOfEvaluation,
  shardStarts,
} from './read/evaluations.ts';
export { compareRuns, differencesOf, getRun, readTimeline } from './read/get-run.ts';
export { type BudgetUse, exportLedger, isOfBudget, monthOf, readBudgets, readLedger } from './read/ledger.ts';
export { modelLineage, runLineage } from './read/lineage.ts';
export { listEvents, readEvents } from './read/list-events.ts';
export { listRuns, readRunsPosition } from './read/list-runs.ts';
export { readLogLines, searchLog } from './read/log-lines.ts';
export { type FoundCard, findModelCard, findSearchableModel, type SearchableModel } from './read/models.ts';
export {
  getCodeHost,
  getOutgoingDelivery,
  getWebhook,
  listCodeHosts,
  listOutgoingDeliveries,
  listWebhooks,
} from './read/outgoing-deliveries.ts';
export { decodeCursor, encodeCursor } from './read/page-cursor.ts';
export { readLog } from './read/read-log.ts';
export { listCheckpoints, readMetrics } from './read/read-metrics.ts';
export { getSchedule, listSchedules } from './read/schedules.ts';
export { listRejectedFiles, loadFleetWork, type RejectedFile, readShardGrid } from './read/shard-grid.ts';
export type { AdmissionSource } from './read/step-views.ts';
export { getAttempt, getStep, listAttempts, listShards } from './read/steps.ts';
export { listDeliveries, listTriggers, readTrigger } from './read/triggers.ts';
export { listViews } from './read/views.ts';
export { type AdmissionView, type Leader, loadAdmission, loadFleet, loadLeader, loadWaiting, type Waiting } from './read/waiting.ts';

export * from './client.ts';
export { Prisma, PrismaClient, type Schedule, type Timer, type Token } from './generated/client.ts';
export * from './listen.ts';
export { migrate, openSchemaEngine } from './migrate.ts';
export { listAudit, listTokens, tokenViewOf } from './read/administration.ts';
export { type ArtifactFile, fileOfArtifact, findLists } from './read/artifact-files.ts';
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
export { compareRuns, differencesOf } from './read/compare-runs.ts';
export { readDatasetUsage } from './read/dataset-usage.ts';
export { datasetOfRun, loadLineage, type MadeArtifact, modelsOfEvaluation, shardStarts } from './read/evaluation-lineage.ts';
export { type FoundEvaluation, findBaselineEvaluation, findEvaluation, listJudgements } from './read/evaluations.ts';
export { loadFleetWork } from './read/fleet-work.ts';
export { getRun } from './read/get-run.ts';
export { readLedger } from './read/ledger.ts';
export { modelLineage, runLineage } from './read/lineage.ts';
export { listEvents, readEvents } from './read/list-events.ts';
export { listRuns, readRunsPosition } from './read/list-runs.ts';
export { readLogLines, searchLog } from './read/log-lines.ts';
export { type FoundCard, findModelCard } from './read/model-card.ts';
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
export { readMetrics } from './read/read-metrics.ts';
export { getSchedule, listSchedules } from './read/schedules.ts';
export { findSearchableModel, type SearchableModel } from './read/searchable-models.ts';
export { listRejectedFiles, type RejectedFile, readShardGrid } from './read/shard-grid.ts';
export type { AdmissionSource } from './read/step-views.ts';
export { getAttempt, getStep, listAttempts, listShards } from './read/steps.ts';
export { readTimeline } from './read/timeline.ts';
export { listDeliveries, listTriggers, readTrigger } from './read/triggers.ts';
export { type AdmissionView, type Leader, loadAdmission, loadFleet, loadLeader, loadWaiting, type Waiting } from './read/waiting.ts';

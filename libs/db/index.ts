export * from './client.ts';
export { Prisma, PrismaClient } from './generated/client.ts';
export * from './listen.ts';
export { migrate, openSchemaEngine } from './migrate.ts';
export { listAudit, listTokens, tokenViewOf } from './read/administration.ts';
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
export { type FoundEvaluation, findEvaluation, listJudgements } from './read/evaluations.ts';
export { decodeCursor, encodeCursor } from './read/page-cursor.ts';
export { readLog } from './read/read-log.ts';
export { readMetrics } from './read/read-metrics.ts';
export { getRun, listEvents, listRuns, readEvents } from './read/runs.ts';
export type { AdmissionSource } from './read/step-views.ts';
export { getAttempt, getStep, listAttempts, listShards } from './read/steps.ts';
export { type AdmissionView, type Leader, loadAdmission, loadFleet, loadLeader, loadWaiting, type Waiting } from './read/waiting.ts';

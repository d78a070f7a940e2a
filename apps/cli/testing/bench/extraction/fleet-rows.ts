import { type ListsDetails, stepSettings } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { newId, sha256 } from '@cairn/runtime';

export type FleetSize = { ids: number; shards: number; workers: number };

/** Ids of what a simulated run begins with. */
export type SimulatedRun = { runId: string; stepId: string; prepare: string };

const heard = () => ({ instance: 'made for a benchmark', contact: 'ok', startedAt: new Date(), lastContactAt: new Date() });

/**
 * Rows of a run whose step `prepare` is about to end, with a model, before an extraction. The extraction needs more slots than the
 * service has, so no worker is launched: {@link startWorkers} makes theirs.
 */
export async function insertRun(prisma: PrismaClient, { shards, workers }: FleetSize): Promise<SimulatedRun> {
  const [runId, stepId, prepareStep, prepare, lists, model, datasetId] = (
    ['run', 'step', 'step', 'attempt', 'artifact', 'artifact', 'dataset'] as const
  ).map((kind) => newId(kind)) as [string, string, string, string, string, string, string];
  const own = { projectId: 'default', owner: 'bench' };
  const building = { projectId: 'default', kind: 'lists', state: 'building', stepName: 'prepare', prefix: `lists/${lists}/` };
  const memoParts = { kind: 'prepare', version: 1, settings: {}, inputs: {}, source: null };
  const details = { imageSize: 512, preprocessing: 'reference', embeddingDim: 512, cosine: 1 };
  const ready = { projectId: 'default', kind: 'model', state: 'ready', stepName: 'export', prefix: `models/${model}/`, details };
  const prepareSettings = stepSettings.prepare.parse({});
  const exportSettings = stepSettings.export.parse({ imageSize: 512, model: { backbone: 'se_resnet101_ibn_a' } });
  const settings = stepSettings.extract.parse({ list: 'index', shards, workers });
  const common = { runId, slots: 1, state: 'active', startedAt: new Date() };
  await prisma.$transaction(async (tx) => {
    const source = { kind: 'tars', root: '/images', metadata: '/metadata', countries: null };
    await tx.dataset.create({
      data: { id: datasetId, ...own, name: 'simulated', version: 1, source, digest: sha256('simulated'), digestBasis: 'none' },
    });
    const asked = { recipeName: 'simulated', recipe: {}, noReuse: [], requestDigest: sha256(runId) };
    await tx.run.create({ data: { id: runId, ...own, name: 'simulated', datasetId, state: 'running', ...asked } });
    await tx.artifact.create({ data: { id: lists, runId, memoKey: sha256(lists), memoParts, ...building } });
    await tx.artifact.create({ data: { id: model, runId, digest: sha256(model), ...ready } });
    const [first, second] = [
      { id: prepareStep, position: 0, name: 'prepare', kind: 'prepare', settings: prepareSettings, needs: [], pool: 'tasks' },
      { id: newId('step'), position: 1, name: 'export', kind: 'export', settings: exportSettings, needs: [], pool: 'gpu' },
    ];
    await tx.step.create({ data: { ...common, ...first, maxAttempts: 1, artifactId: lists } });
    await tx.step.create({ data: { ...common, ...second, maxAttempts: 1, state: 'succeeded', artifactId: model } });
    const needs = [
      { role: 'lists', step: 'prepare' },
      { role: 'model', step: 'export' },
    ];
    const third = { id: stepId, position: 2, name: 'extract_index', kind: 'extract', settings, needs, pool: 'gpu', maxAttempts: workers };
    // More slots than the pool has.
    await tx.step.create({ data: { ...common, ...third, slots: 8, state: 'blocked', startedAt: null } });
    const attempt = { stepId: prepareStep, stepGeneration: 1, ordinal: 1, pool: 'tasks', slots: 1, state: 'running' };
    await tx.attempt.create({ data: { id: prepare, runId, ...attempt, ...heard() } });
  });
  return { runId, stepId, prepare };
}

/** What `prepare` finds in the list. */
export const listDetails = (ids: number): ListsDetails => ({
  lists: { index: { rows: ids, distinct: ids, classes: 1, sha256: sha256('index'), tarsDigest: sha256('tars') } },
  groundTruth: null,
});

/** Live attempts of the extraction, as if their pods had started: the leader replaces those that do not report soon. */
export async function startWorkers(prisma: PrismaClient, { runId, stepId }: SimulatedRun, attempts: readonly string[]): Promise<void> {
  const attempt = { runId, stepId, stepGeneration: 1, pool: 'tasks', slots: 1, state: 'running', ...heard() };
  await prisma.$transaction([
    prisma.attempt.createMany({ data: attempts.map((id, index) => ({ id, ordinal: index + 1, ...attempt })) }),
    prisma.step.update({ where: { id: stepId }, data: { state: 'active', startedAt: new Date() } }),
  ]);
}

import type { DatasetView } from '@cairn/contract';
import { datasetViewOf, inTransaction, isUniqueViolation } from '@cairn/db';
import { canonicalJson, newId } from '@cairn/runtime';
import { audit } from './audit.ts';
import type { Actor, EngineContext, NewDataset } from './engine.ts';
import { datasetRegistered } from './schedules.ts';

/**
 * The dataset with this name and content: the newest version if it has the same source and digest, else the next one. Versions are numbered
 * without gaps, even when several are registered at the same time. A new version starts the schedules that are bound to its name.
 */
export async function registerDataset(
  { prisma }: EngineContext,
  dataset: NewDataset,
  actor: Actor,
): Promise<{ dataset: DatasetView; created: boolean }> {
  const { name, source, digest } = dataset;
  const { projectId, name: owner } = actor;
  for (let tries = 1; ; tries += 1) {
    const newest = await prisma.dataset.findFirst({ where: { projectId, name }, orderBy: { version: 'desc' } });
    if (newest !== null) {
      const view = datasetViewOf(newest);
      if (view.digest === digest && canonicalJson(view.source) === canonicalJson(source)) {
        // An earlier version registered it without file digests.
        if (newest.files === null) await prisma.dataset.update({ where: { id: newest.id }, data: { files: dataset.files } });
        return { dataset: view, created: false };
      }
    }
    try {
      const row = await inTransaction(prisma, async (tx) => {
        const data = { id: newId('dataset'), projectId, owner, ...dataset, version: (newest?.version ?? 0) + 1 };
        const made = await tx.dataset.create({ data });
        const after = { name, version: made.version, digest, source };
        await audit(tx, actor, { action: 'dataset.add', target: made.id, before: null, after });
        await datasetRegistered(tx, made, new Date());
        return made;
      });
      return { dataset: datasetViewOf(row), created: true };
    } catch (error) {
      // Another request took the number: read again.
      if (tries < 10 && isUniqueViolation(error)) continue;
      throw error;
    }
  }
}

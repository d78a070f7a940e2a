import type { DatasetFiles, DatasetView, ImageSource } from '@cairn/contract';
import { datasetViewOf, inTransaction, isUniqueViolation, type PrismaClient } from '@cairn/db';
import { type Actor, audit } from '@cairn/engine';
import { canonicalJson, newId } from '@cairn/runtime';

export type NewDataset = {
  name: string;
  source: ImageSource;
  /** SHA-256 of the metadata and the images' digest. */
  digest: string;
  digestBasis: string;
  files: DatasetFiles;
};

/**
 * The dataset of this name and content: the newest version when it has the same source and digest, else the next one.
 * Versions are numbered without gaps, also when several are registered at once.
 */
export async function registerDataset(
  prisma: PrismaClient,
  actor: Actor,
  dataset: NewDataset,
): Promise<{ dataset: DatasetView; created: boolean }> {
  const { name, source, digest } = dataset;
  const { projectId, name: owner } = actor;
  for (let tries = 1; ; tries += 1) {
    const newest = await prisma.dataset.findFirst({ where: { projectId, name }, orderBy: { version: 'desc' } });
    if (newest !== null) {
      const view = datasetViewOf(newest);
      if (view.digest === digest && canonicalJson(view.source) === canonicalJson(source)) {
        // An earlier version registered it without them.
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
        return made;
      });
      return { dataset: datasetViewOf(row), created: true };
    } catch (error) {
      // Another request took the number: look again.
      if (tries < 10 && isUniqueViolation(error)) continue;
      throw error;
    }
  }
}

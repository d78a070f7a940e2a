import type { DatasetFiles, DatasetView, ImageSource } from '@cairn/contract';
import { datasetViewOf, isUniqueViolation, type PrismaClient } from '@cairn/db';
import { canonicalJson, newId } from '@cairn/runtime';

export type NewDataset = {
  projectId: string;
  owner: string;
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
export async function registerDataset(prisma: PrismaClient, dataset: NewDataset): Promise<{ dataset: DatasetView; created: boolean }> {
  const { projectId, name, source, digest } = dataset;
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
      const row = await prisma.dataset.create({ data: { id: newId('dataset'), ...dataset, version: (newest?.version ?? 0) + 1 } });
      return { dataset: datasetViewOf(row), created: true };
    } catch (error) {
      // Another request took the number: look again.
      if (tries < 10 && isUniqueViolation(error)) continue;
      throw error;
    }
  }
}

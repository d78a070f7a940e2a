import { isAbsolute } from 'node:path';
import { CairnError, type DatasetFiles, type DatasetView, datasetUrlFault, type ImageSource, isDatasetUrl } from '@cairn/contract';
import type { InspectedDataset } from '@cairn/dataset';
import { datasetViewOf, inTransaction, isUniqueViolation, type PrismaClient } from '@cairn/db';
import { type Actor, audit } from '@cairn/engine';
import { canonicalJson, newId } from '@cairn/runtime';

export type InspectSource = (source: ImageSource, signal: AbortSignal) => Promise<InspectedDataset>;

/**
 * Creates the function that checks the files of a collection and computes their digest.
 *
 * @param roots the folders and addresses that may contain datasets, looked up for each request
 */
export function sourceInspector(roots: () => Promise<readonly string[]>): InspectSource {
  /** @throws CairnError as `inspectDataset` does, `invalid_request` for a place that is neither an absolute path nor an address */
  return async (source, signal) => {
    requireAbsolute(source);
    // DuckDB and sharp are large: load them only when a dataset is registered.
    const { inspectDataset } = await import('@cairn/dataset');
    try {
      return await inspectDataset(source, { roots: await roots(), signal });
    } catch (error) {
      throw unreadable(error) ?? error;
    }
  };
}

function requireAbsolute(source: ImageSource): void {
  for (const field of ['root', 'metadata', 'countries'] as const) {
    const path = source[field];
    if (path === null || isAbsolute(path)) continue;
    const fault = isDatasetUrl(path) ? datasetUrlFault(path) : 'is not an absolute path, as the machines that run Cairn see it';
    if (fault === null) continue;
    throw new CairnError('invalid_request', `source.${field} "${path}" ${fault}; use an absolute path, or an address`, {
      details: {
        part: 'body',
        errors: [{ path: `source.${field}`, message: 'expected an absolute path, or an s3:// or https:// address' }],
      },
    });
  }
}

/** The owner must fix an unreadable file, like a missing one. */
function unreadable(error: unknown): CairnError | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  if (
    !['EACCES', 'EPERM', 'ENOTDIR', 'ENOENT', 'EIO', 'ELOOP', 'ENAMETOOLONG', 'ENXIO', 'EINVAL', 'ERR_INVALID_ARG_VALUE'].includes(
      error.code,
    )
  )
    return undefined;
  return new CairnError('missing_file', `The collection cannot be read: ${error.message}`, { cause: error });
}

type NewDataset = {
  name: string;
  source: ImageSource;
  /** SHA-256 of the metadata and the images' digest. */
  digest: string;
  digestBasis: string;
  files: DatasetFiles;
};

/**
 * The dataset with this name and content: the newest version if it has the same source and digest, else the next one. Versions are numbered
 * without gaps, even when several are registered at the same time.
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

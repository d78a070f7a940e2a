import { isAbsolute } from 'node:path';
import { CairnError, datasetUrlFault, type ImageSource, isDatasetUrl } from '@cairn/contract';
import type { InspectedDataset } from '@cairn/dataset';

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

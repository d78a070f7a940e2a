import { isAbsolute, join } from 'node:path';
import { CairnError, type ImageSource, prepareSettings } from '@cairn/contract';
import { sha256Json } from '@cairn/runtime';

export type InspectedSource = {
  digest: string;
  /** What the digest was made of, in words. */
  digestBasis: string;
};

/**
 * Checks that the files of a collection are there and can be read, and digests them: the CSV files by their content, images by
 * their listing (with sizes and times) or by the md5 of the tars.
 *
 * @throws CairnError `missing_file`, `missing_column`, `bad_row`, `invalid_request` for a path that is not absolute
 */
export async function inspectSource(source: ImageSource, signal: AbortSignal): Promise<InspectedSource> {
  requireAbsolute(source);
  const { kind, root, metadata } = source;
  const countries = source.countries ?? undefined;
  // Together these lists need every CSV file and every split.
  const { lists } = prepareSettings.parse({});
  // DuckDB and sharp are large: a server that registers nothing does without them.
  const dataset = await import('@cairn/dataset');
  try {
    await dataset.checkDataset({ metadata, countries, images: { kind, root }, lists, signal });
    const text = await dataset.metadataDigest({ metadata, countries, lists }, signal);
    const images = kind === 'tars' ? await digestTars(dataset, root, signal) : await digestFolders(dataset, root, signal);
    return {
      digest: sha256Json({ metadata: text.digest, images: images.digest }),
      digestBasis: `the content of ${Object.keys(text.files).length} CSV and country files, and ${images.basis}`,
    };
  } catch (error) {
    throw unreadable(error) ?? error;
  }
}

type Dataset = typeof import('@cairn/dataset');

async function digestTars({ imageSplits, tarsDigest }: Dataset, root: string, signal: AbortSignal) {
  const { digest, tars } = await tarsDigest(root, imageSplits, signal);
  return { digest, basis: `the md5 sums of ${Object.keys(tars).length} tars` };
}

async function digestFolders({ folderDigest, imageSplits }: Dataset, root: string, signal: AbortSignal) {
  const digests: Record<string, string> = {};
  let files = 0;
  // Only the splits: what else lies beside them, such as the CSV files, makes no image another one.
  for (const split of imageSplits) {
    const folder = await folderDigest(join(root, split), signal);
    digests[split] = folder.digest;
    files += folder.files;
  }
  return { digest: sha256Json(digests), basis: `the names, sizes and times (not the content) of ${files} images` };
}

function requireAbsolute(source: ImageSource): void {
  for (const field of ['root', 'metadata', 'countries'] as const) {
    const path = source[field];
    if (path === null || isAbsolute(path)) continue;
    throw new CairnError('invalid_request', `source.${field} is "${path}"; give an absolute path, as the machines that run Cairn see it`, {
      details: { part: 'body', errors: [{ path: `source.${field}`, message: 'an absolute path is expected' }] },
    });
  }
}

/** A file that is there and cannot be read is its owner's to mend, like one that is missing. */
function unreadable(error: unknown): CairnError | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  if (!['EACCES', 'EPERM', 'ENOTDIR', 'ENOENT', 'EIO'].includes(error.code)) return undefined;
  return new CairnError('missing_file', `The collection cannot be read: ${error.message}`, { cause: error });
}

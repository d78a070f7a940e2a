import { join } from 'node:path';
import { type DatasetFiles, type ImageSource, prepareSettings } from '@cairn/contract';
import { checkDataset } from './check-dataset.ts';
import { datasetDigest, folderDigest, tarMd5s } from './digests.ts';
import { createFileGate, type FileGate } from './file-gate.ts';
import { imageSplits } from './image-path.ts';

export type InspectedDataset = {
  digest: string;
  /** A description of the digest's inputs. */
  digestBasis: string;
  files: DatasetFiles;
};

/**
 * Checks that the files of a collection exist and are readable, and digests them: CSV files by content, images by their listing (with sizes
 * and times) or by the md5 of the tars.
 *
 * @param options.roots the folders that may contain its files; null for any folder that this process can read
 * @throws CairnError `missing_file`, `missing_column`, `bad_row`, `folder_not_allowed`; the system's error; the signal's reason
 */
export async function inspectDataset(
  { kind, root, metadata, countries }: ImageSource,
  { roots, signal }: { roots: readonly string[] | null; signal?: AbortSignal | undefined },
): Promise<InspectedDataset> {
  // Together these lists need every CSV file and every split.
  const { lists } = prepareSettings.parse({});
  const images = { kind, root };
  const checked = await checkDataset({ metadata, countries: countries ?? undefined, images, lists, roots, signal });
  const how = { gate: await createFileGate(roots), signal };
  const { digests, basis } = kind === 'tars' ? await digestTars(root, how) : await digestFolders(root, how);
  const files: DatasetFiles = { metadata: checked.metadata, images: digests };
  return {
    digest: datasetDigest(files),
    digestBasis: `the content of ${Object.keys(checked.metadata).length} CSV and country files, and ${basis}`,
    files,
  };
}

type How = { gate: FileGate; signal: AbortSignal | undefined };

async function digestTars(root: string, how: How) {
  const digests = await tarMd5s(root, imageSplits, how);
  return { digests, basis: `the md5 sums of ${Object.keys(digests).length} tars` };
}

async function digestFolders(root: string, how: How) {
  const digests: Record<string, string> = {};
  let files = 0;
  // Only the splits: other files in the root, such as the CSV files, do not affect images.
  for (const split of imageSplits) {
    const folder = await folderDigest(join(root, split), how);
    digests[split] = folder.digest;
    files += folder.files;
  }
  return { digests, basis: `the names, sizes and times (not the content) of ${files} images` };
}

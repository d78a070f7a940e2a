import { readFile, writeFile } from 'node:fs/promises';
import { CairnError, type DatasetView, type ImageQuery, type ImageSplit, imageSplits, isDatasetUrl } from '@cairn/contract';
import { imagePath } from '@cairn/dataset/images';
import { findLists, type PrismaClient } from '@cairn/db';
import { ChildKilled, type ChildPool } from '../compute/child-pool.ts';
import { type ComputeJobOf, type ImageLocation, pictureAnswer } from '../compute/messages.ts';
import type { FileCache } from '../file-cache.ts';
import { maxTableBytes, type StoredTables } from './list-rows.ts';
import { sourceImages } from './source-image.ts';

export type DatasetImages = (dataset: DatasetView, imageId: string, query: ImageQuery) => Promise<Buffer>;

export type DatasetImagesDeps = {
  prisma: PrismaClient;
  tables: StoredTables;
  cache: FileCache;
  children: ChildPool;
  datasetRoots(): Promise<readonly string[]>;
};

const timeoutMs = 20_000;

/**
 * Creates the function that gives an image of a dataset as a JPEG to look at. The caller names an id, never a path: a folder has one place
 * for each id and split, and for tars the lists that a run has prepared tell the place. Decoding is left to a child process, which has no
 * credentials: it gets the bytes of an image at an address.
 */
export function datasetImages({ prisma, tables, cache, children, datasetRoots }: DatasetImagesDeps): DatasetImages {
  const readSource = sourceImages();

  async function locate(dataset: DatasetView, imageId: string, splits: readonly ImageSplit[]): Promise<ImageLocation[]> {
    const { kind } = dataset.source;
    if (kind === 'folder') return splits.map((split) => ({ path: imagePath(split, imageId) }));
    const lists = await findLists(prisma, dataset.id);
    if (lists.length === 0) {
      throw new CairnError(
        'not_found',
        `The tar of ${dataset.name}@${dataset.version} that contains the image ${imageId} is not known yet`,
        {
          details: {
            remedy: 'Images of tars are found by the lists that the step `prepare` of a run makes. Submit a run with this dataset.',
          },
        },
      );
    }
    for (const list of lists.filter(({ bytes }) => bytes <= maxTableBytes)) {
      const row = (await tables.listRows(list, [imageId])).get(imageId);
      if (row === undefined || !splits.some((split) => row.path.startsWith(`${split}/`))) continue;
      const { path, tar, offset, size, file_bytes: fileBytes, file_changed_ms: fileChangedMs } = row;
      return [{ path, tar, offset, size, fileBytes, fileChangedMs }];
    }
    return [];
  }

  async function thumbnailOf(
    root: string,
    roots: readonly string[],
    candidates: readonly ImageLocation[],
    maxSide: number,
  ): Promise<ComputeJobOf<'thumbnail'> | null> {
    const found = await readSource(root, roots, candidates);
    return found === null ? null : { kind: 'thumbnail', ...found, maxSide, timeoutMs };
  }

  return async (dataset, imageId, { size: maxSide, split }) => {
    const splits = split === undefined ? imageSplits : [split];
    const name = `${dataset.name}@${dataset.version}`;
    const make = async (path: string): Promise<void> => {
      const candidates = await locate(dataset, imageId, splits);
      const { root } = dataset.source;
      const roots = [...(await datasetRoots())];
      const job = isDatasetUrl(root)
        ? await thumbnailOf(root, roots, candidates, maxSide)
        : { kind: 'picture' as const, root, roots, candidates, maxSide, timeoutMs };
      const answer = job === null ? Promise.resolve(null) : children.ask(job, pictureAnswer, { timeoutMs });
      const picture = await answer.catch((error: unknown) => {
        if (!(error instanceof ChildKilled)) throw error;
        throw new CairnError('unreadable_image', `The image ${imageId} of ${name} cannot be decoded: ${error.message}`, {
          cause: error,
          details: { reason: error.message },
        });
      });
      if (picture === null) {
        const where = split === undefined ? '' : ` in ${split}`;
        throw new CairnError('not_found', `The dataset ${name} has no image ${imageId}${where}`, {
          details: { remedy: 'Use the id of an image of this dataset, without its folder and without .jpg.' },
        });
      }
      await writeFile(path, picture);
    };
    return cache.using(`picture ${dataset.id} ${dataset.digest} ${split ?? ''} ${imageId} ${maxSide}`, make, (path) => readFile(path));
  };
}

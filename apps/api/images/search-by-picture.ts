import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { CairnError, featureFolders, type PictureSearchView } from '@cairn/contract';
import { datasetOfRun, findSearchableModel, loadLineage, type PrismaClient, type SearchableModel } from '@cairn/db';
import { type ObjectStore, readManifest } from '@cairn/storage';
import { ChildKilled, type ChildPool } from '../compute/child-pool.ts';
import { type ComputeJobOf, searchAnswer } from '../compute/messages.ts';
import type { FileCache } from '../file-cache.ts';
import { readGallery } from './gallery.ts';
import type { StoredTables } from './list-rows.ts';

export type SearchByPicture = (args: {
  projectId: string;
  model: string;
  topK: number;
  picture: Buffer;
  signal: AbortSignal;
}) => Promise<PictureSearchView>;

export type SearchDeps = { prisma: PrismaClient; store: ObjectStore; tables: StoredTables; cache: FileCache; children: ChildPool };

/** Of the search alone, without the downloads before the first one. */
const timeoutMs = 120_000;

/**
 * Creates the function that searches the features of a registered model for a picture. Model and features are fetched once and kept as long
 * as the cache has room; the search reads the features from the disk.
 */
export function pictureSearcher({ prisma, store, tables, cache, children }: SearchDeps): SearchByPicture {
  /** The files of a feature set that a search reads, in one folder. */
  async function fetchFeatures({ name, index }: SearchableModel, folder: string, signal: AbortSignal): Promise<void> {
    const listed = (await readManifest(store, index.prefix.replace(/\/$/, ''), signal)).files;
    const wanted = listed.filter(
      (file) => file.name.startsWith(`${featureFolders.embeddings}/`) || file.name.startsWith(`${featureFolders.metadata}/`),
    );
    if (wanted.length === 0) throw new CairnError('corrupt_artifact', `The features of ${name} have no parts`);
    for (const file of wanted) {
      await mkdir(dirname(join(folder, file.name)), { recursive: true });
      await store.download(`${index.prefix}${file.name}`, join(folder, file.name), { sha256: file.sha256, signal });
    }
  }

  return async ({ projectId, model: reference, topK, picture, signal }) => {
    const begin = performance.now();
    const model = await findSearchableModel(prisma, projectId, reference);
    const { index, onnx, details } = model;
    if (index.bytes > cache.maxBytes) {
      throw new CairnError(
        'invalid_request',
        `The features of ${model.name} have ${index.bytes} bytes; the service searches at most ${cache.maxBytes} itself`,
        {
          details: {
            remedy: 'Search them with `cairn features` and `cairn search` on a machine of your own, or raise CAIRN_CACHE_MB of the api.',
          },
        },
      );
    }
    const search = async (modelPath: string, folder: string) => {
      const job: ComputeJobOf<'search'> = {
        kind: 'search',
        ...{ picture, modelPath, index: folder, topK, timeoutMs },
        imageSize: details.imageSize,
        preprocessing: details.preprocessing,
        // The other cores answer requests.
        threads: Math.max(1, Math.floor(availableParallelism() / 2)),
      };
      return children.ask(job, searchAnswer, { timeoutMs, signal });
    };
    const found = await cache
      .using(
        `${onnx.key} ${onnx.sha256}`,
        async (path) => void (await store.download(onnx.key, path, { sha256: onnx.sha256, signal })),
        (modelPath) =>
          cache.using(
            `features ${index.id}`,
            (folder) => fetchFeatures(model, folder, signal),
            (folder) => search(modelPath, folder),
          ),
      )
      .catch((error: unknown) => {
        if (!(error instanceof ChildKilled)) throw error;
        throw new CairnError('invalid_request', `The picture cannot be searched with ${model.name}: ${error.message}`, {
          cause: error,
          details: { remedy: 'Try a smaller picture or a model with fewer features, or use `cairn search` on a machine of your own.' },
        });
      });
    const lineage = await loadLineage(prisma, projectId, index.id);
    const ids = found.neighbours.map(({ imageId }) => imageId);
    const known = await readGallery({ prisma, tables }, lineage, lineage[0], ids);
    return {
      model: model.name,
      dataset: await datasetOfRun(prisma, projectId, model.runId),
      galleryRows: found.galleryRows,
      items: found.neighbours.map(({ imageId, score }, at) => ({ rank: at + 1, imageId, score, label: known(imageId).label })),
      seconds: (performance.now() - begin) / 1000,
    };
  };
}

import {
  artifactView,
  type DatasetView,
  datasetPage,
  type datasetRequest,
  datasetView,
  type ModelView,
  modelPage,
  recipeList,
  recipeView,
  type WeightsView,
  weightsPage,
  type weightsQuery,
  weightsView,
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem } from './pages.ts';
import { type Requester, type RequestOptions, statusAlone } from './request.ts';

export type PageQuery = { limit?: number; cursor?: string };

/** Calls about datasets, recipes, weights, models and artifacts. */
export function catalogueCalls({ send }: Requester) {
  const listDatasets = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'datasets'], query, repeatable: true, answer: datasetPage }, options);
  const listModels = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models'], query, repeatable: true, answer: modelPage }, options);
  const listModelVersions = (name: string, query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models', name], query, repeatable: true, answer: modelPage }, options);
  const listWeights = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'weights'], query, repeatable: true, answer: weightsPage }, options);
  const withCursor = (cursor: string | undefined): PageQuery => (cursor === undefined ? {} : { cursor });

  return {
    /** Registers where a collection lies. The same name and source again is no change, so a failed try is repeated. */
    addDataset: (body: z.input<typeof datasetRequest>, options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'datasets'], body, repeatable: true, answer: datasetView },
        // A folder's digest is its listing: minutes for millions of files.
        { ...options, timeoutMs: options.timeoutMs ?? 15 * 60_000 },
      ),
    listDatasets,
    eachDataset: (options?: RequestOptions): AsyncGenerator<DatasetView, void, void> =>
      eachItem((cursor) => listDatasets(withCursor(cursor), options)),
    /** The newest version of a dataset, or the one of `name@version`. */
    getDataset: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'datasets', name], repeatable: true, answer: datasetView }, options),

    listRecipes: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'recipes'], repeatable: true, answer: recipeList }, options),
    getRecipe: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'recipes', name], repeatable: true, answer: recipeView }, options),

    /** Brings a file of tensors in under a name. The same file again is no change, so a failed try is repeated. */
    importWeights: (name: string, said: z.input<typeof weightsQuery>, file: Blob, options: RequestOptions = {}) =>
      send(
        { method: 'PUT', path: ['v1', 'weights', name], query: said, octets: file, repeatable: true, answer: weightsView },
        // At least a MB in a second.
        { ...options, timeoutMs: options.timeoutMs ?? 60_000 + Math.ceil(file.size / 1000) },
      ),
    listWeights,
    eachWeights: (options?: RequestOptions): AsyncGenerator<WeightsView, void, void> =>
      eachItem((cursor) => listWeights(withCursor(cursor), options)),
    getWeights: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'weights', name], repeatable: true, answer: weightsView }, options),
    /** Takes the name away; the file goes with the next clearing out when no run refers to it. */
    removeWeights: async (name: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: ['v1', 'weights', name], repeatable: false, answer: statusAlone }, options);
    },

    listModels,
    eachModel: (options?: RequestOptions): AsyncGenerator<ModelView, void, void> =>
      eachItem((cursor) => listModels(withCursor(cursor), options)),
    listModelVersions,
    eachModelVersion: (name: string, options?: RequestOptions): AsyncGenerator<ModelView, void, void> =>
      eachItem((cursor) => listModelVersions(name, withCursor(cursor), options)),

    getArtifact: (artifactId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'artifacts', artifactId], repeatable: true, answer: artifactView }, options),
  };
}

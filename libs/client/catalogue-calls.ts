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
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem } from './pages.ts';
import type { Requester, RequestOptions } from './request.ts';

export type PageQuery = { limit?: number; cursor?: string };

/** Calls about datasets, recipes, models and artifacts. */
export function catalogueCalls({ send }: Requester) {
  const listDatasets = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'datasets'], query, repeatable: true, answer: datasetPage }, options);
  const listModels = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models'], query, repeatable: true, answer: modelPage }, options);
  const listModelVersions = (name: string, query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models', name], query, repeatable: true, answer: modelPage }, options);
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

import {
  artifactView,
  auditPage,
  type DatasetView,
  datasetPage,
  type datasetRequest,
  datasetView,
  fleetView,
  type gcRequest,
  gcResult,
  type ModelView,
  meView,
  modelPage,
  recipeList,
  recipeView,
  tokenCreated,
  tokenList,
  type tokenRequest,
  versionView,
  type WeightsView,
  weightsPage,
  type weightsQuery,
  weightsView,
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem, type Requester, type RequestOptions, statusAlone } from './request.ts';

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
    /** Registers where a collection is. The same name and source again changes nothing, so a failed try is repeated. */
    addDataset: (body: z.input<typeof datasetRequest>, options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'datasets'], body, repeatable: true, answer: datasetView },
        // The digest of a folder is over its listing: minutes for millions of files.
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

    /** Imports a file of tensors under a name. The same file again changes nothing, so a failed try is repeated. */
    importWeights: (name: string, description: z.input<typeof weightsQuery>, file: Blob, options: RequestOptions = {}) =>
      send(
        { method: 'PUT', path: ['v1', 'weights', name], query: description, octets: file, repeatable: true, answer: weightsView },
        // At least 1 MB per second.
        { ...options, timeoutMs: options.timeoutMs ?? 60_000 + Math.ceil(file.size / 1000) },
      ),
    listWeights,
    eachWeights: (options?: RequestOptions): AsyncGenerator<WeightsView, void, void> =>
      eachItem((cursor) => listWeights(withCursor(cursor), options)),
    getWeights: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'weights', name], repeatable: true, answer: weightsView }, options),
    /** Removes the name; the file is removed by the next gc when no run refers to it. */
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

/** Calls about the service itself: fleet, tokens, audit, garbage collection, health. */
export function serviceCalls({ send }: Requester) {
  const listAudit = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'audit'], query, repeatable: true, answer: auditPage }, options);

  return {
    /** The build of the dashboard that the service serves now. Only with one. */
    getVersion: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['version.json'], repeatable: true, answer: versionView }, options),
    /** Who calls: the name and the role of the token, and what it may do. */
    getMe: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'me'], repeatable: true, answer: meView }, options),
    /** In a browser: exchanges a token for a cookie, which every call then carries. */
    startSession: async (token: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'POST', path: ['v1', 'session'], body: { token }, repeatable: false, answer: statusAlone }, options);
    },
    endSession: async (options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: ['v1', 'session'], repeatable: false, answer: statusAlone }, options);
    },

    getFleet: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'fleet'], repeatable: true, answer: fleetView }, options),

    listTokens: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'tokens'], repeatable: true, answer: tokenList }, options),
    /** Only the answer has the secret; it is never shown again, so a failed try is not repeated. */
    createToken: (body: z.input<typeof tokenRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: ['v1', 'tokens'], body, repeatable: false, answer: tokenCreated }, options),
    revokeToken: async (tokenId: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: ['v1', 'tokens', tokenId], repeatable: false, answer: statusAlone }, options);
    },

    listAudit,
    eachAuditEntry: (options?: RequestOptions) => eachItem((cursor) => listAudit(cursor === undefined ? {} : { cursor }, options)),

    /** Removes artifacts that no run refers to and the staging of attempts that are over. */
    collectGarbage: (body: z.input<typeof gcRequest> = {}, options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'gc'], body, repeatable: false, answer: gcResult },
        { ...options, timeoutMs: options.timeoutMs ?? 5 * 60_000 },
      ),

    /** Resolves when every part that the API needs answers; throws `unavailable` naming the one that does not. */
    checkReady: async (options?: RequestOptions): Promise<void> => {
      await send({ method: 'GET', path: ['readyz'], repeatable: false, answer: statusAlone }, options);
    },
  };
}

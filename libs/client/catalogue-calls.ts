import {
  type AliasMoveView,
  type aliasChange,
  aliasList,
  aliasMovePage,
  type aliasRequest,
  artifactView,
  type baselineRequest,
  CairnError,
  type comparisonQuery,
  comparisonView,
  type DatasetView,
  datasetPage,
  type datasetRequest,
  datasetView,
  type distributionQuery,
  evaluationView,
  type gateQuery,
  type imageQuery,
  judgement,
  lineageView,
  type ModelView,
  modelCard,
  modelPage,
  type neighboursQuery,
  neighboursView,
  type pictureSearchQuery,
  pictureSearchView,
  type QueryScoreRow,
  queryScorePage,
  type queryScoresQuery,
  recipeList,
  recipeView,
  rejectedPage,
  runView,
  scoreDistribution,
  shardGrid,
  type WeightsView,
  weightsPage,
  type weightsQuery,
  weightsView,
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem, type Requester, type RequestOptions, statusAlone, textOf } from './request.ts';

type PageQuery = { limit?: number; cursor?: string };
type ComparisonInput = Pick<z.output<typeof comparisonQuery>, 'a' | 'b'> & Partial<z.output<typeof comparisonQuery>>;
type QueryScoresInput = Pick<z.output<typeof queryScoresQuery>, 'of'> & Partial<z.output<typeof queryScoresQuery>>;

/** Calls about datasets, recipes, weights, models and artifacts. */
export function catalogueCalls({ send, open }: Requester) {
  const listDatasets = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'datasets'], query, repeatable: true, answer: datasetPage }, options);
  const listModels = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models'], query, repeatable: true, answer: modelPage }, options);
  const listModelVersions = (name: string, query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models', name], query, repeatable: true, answer: modelPage }, options);
  const aliasPath = (model: string, ...rest: string[]) => ['v1', 'models', model, 'aliases', ...rest];
  const listAliasMoves = (model: string, alias: string, query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: aliasPath(model, alias, 'moves'), query, repeatable: true, answer: aliasMovePage }, options);
  const listWeights = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'weights'], query, repeatable: true, answer: weightsPage }, options);
  const listQueryScores = (query: QueryScoresInput, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'evaluation', 'queries'], query, repeatable: true, answer: queryScorePage }, options);
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

    listAliases: (model: string, options?: RequestOptions) =>
      send({ method: 'GET', path: aliasPath(model), repeatable: true, answer: aliasList }, options),
    /** Repeating it changes nothing. */
    setAlias: (model: string, alias: string, body: z.input<typeof aliasRequest>, options?: RequestOptions) =>
      send({ method: 'PUT', path: aliasPath(model, alias), body, repeatable: body.ifVersion === undefined, answer: aliasList }, options),
    rollBackAlias: (model: string, alias: string, body: z.input<typeof aliasChange>, options?: RequestOptions) =>
      send({ method: 'POST', path: aliasPath(model, alias, 'rollback'), body, repeatable: false, answer: aliasList }, options),
    removeAlias: (model: string, alias: string, query: z.input<typeof aliasChange>, options?: RequestOptions) =>
      send({ method: 'DELETE', path: aliasPath(model, alias), query, repeatable: false, answer: aliasList }, options),
    listAliasMoves,
    eachAliasMove: (model: string, alias: string, options?: RequestOptions): AsyncGenerator<AliasMoveView, void, void> =>
      eachItem((cursor) => listAliasMoves(model, alias, withCursor(cursor), options)),
    /** The evaluation that a reference names, such as RUN, RUN/STEP or MODEL@VERSION. */
    getEvaluation: (of: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'evaluation'], query: { of }, repeatable: true, answer: evaluationView }, options),
    listQueryScores,
    eachQueryScore: (query: QueryScoresInput, options?: RequestOptions): AsyncGenerator<QueryScoreRow, void, void> =>
      eachItem((cursor) => listQueryScores({ ...query, ...withCursor(cursor) }, options)),
    /** Tries a gate on an evaluation; nothing is stored. */
    tryGate: (query: z.output<typeof gateQuery>, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'gate'], query, repeatable: true, answer: judgement }, options),
    /** Starts the run that evaluates the baseline of a gate on the data of an evaluation; asking again gives the same run. */
    evaluateBaseline: (body: z.input<typeof baselineRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: ['v1', 'gate', 'baseline'], body, repeatable: true, answer: runView }, options),
    compareEvaluations: (query: ComparisonInput, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'comparison'], query, repeatable: true, answer: comparisonView }, options),

    getArtifact: (artifactId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'artifacts', artifactId], repeatable: true, answer: artifactView }, options),
    /** A file of a model from a byte on, as a stream; the caller must read or cancel it. One try. */
    openArtifactFile: (artifactId: string, file: string, { from, signal }: { from: number; signal: AbortSignal }): Promise<Response> =>
      open(['v1', 'artifacts', artifactId, 'files', file], undefined, from > 0 ? { range: `bytes=${from}-` } : {}, signal),
    /** The card of MODEL@VERSION or MODEL@ALIAS. */
    getModelCard: (reference: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'models', reference, 'card'], repeatable: true, answer: modelCard, isVerbatim: true }, options),
    /** The same as Markdown. One try. */
    readModelCard: async (reference: string, { signal }: { signal: AbortSignal }): Promise<string> =>
      textOf(await open(['v1', 'models', reference, 'card.md'], undefined, {}, signal), 'GET card.md'),
  };
}

type NeighboursInput = Pick<z.output<typeof neighboursQuery>, 'of' | 'query'> & Partial<z.output<typeof neighboursQuery>>;
type ImageInput = Partial<z.output<typeof imageQuery>>;
type SearchInput = Pick<z.output<typeof pictureSearchQuery>, 'model'> & Partial<z.output<typeof pictureSearchQuery>>;

/** A model and a feature set are fetched first, which may take minutes. */
const searchTimeoutMs = 10 * 60_000;

/** Calls about what extractions and searches made, down to single images. */
export function pictureCalls({ open, send, url }: Requester) {
  const evaluation = ['v1', 'evaluation'] as const;
  const step = (runId: string, name: string) => ['v1', 'runs', runId, 'steps', name] as const;
  return {
    /** How many queries have which average precision. */
    getScoreDistribution: (query: z.output<typeof distributionQuery>, options?: RequestOptions) =>
      send({ method: 'GET', path: [...evaluation, 'distribution'], query, repeatable: true, answer: scoreDistribution }, options),
    /** What a search found for a query, the best first, and the ground truths that it missed. */
    listNeighbours: (query: NeighboursInput, options?: RequestOptions) =>
      send({ method: 'GET', path: [...evaluation, 'neighbours'], query, repeatable: true, answer: neighboursView }, options),
    /** What an evaluation was made from. */
    getEvaluationLineage: (of: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...evaluation, 'lineage'], query: { of }, repeatable: true, answer: lineageView }, options),

    /** The address of an image of a dataset, as a JPEG. */
    imageAddress: (dataset: string, imageId: string, query: ImageInput = {}): string => {
      const parameters = new URLSearchParams(Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)])));
      return `${url}/v1/datasets/${encodeURIComponent(dataset)}/images/${encodeURIComponent(imageId)}?${parameters}`;
    },

    /** Why an image cannot be shown; null when it can. */
    whyNoImage: async (dataset: string, imageId: string, query: ImageInput, signal: AbortSignal): Promise<string | null> => {
      try {
        const answer = await open(['v1', 'datasets', dataset, 'images', imageId], query, {}, signal);
        await answer.body?.cancel();
        return null;
      } catch (error) {
        if (error instanceof CairnError) return error.message;
        throw error;
      }
    },

    /** Every shard of a fleet, and the time of its workers. */
    getShardGrid: (runId: string, name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...step(runId, name), 'shards', 'grid'], repeatable: true, answer: shardGrid }, options),
    /** The images that an extraction left out. */
    listRejected: (runId: string, name: string, query: { limit?: number; cursor?: string } = {}, options?: RequestOptions) =>
      send({ method: 'GET', path: [...step(runId, name), 'rejected'], query, repeatable: true, answer: rejectedPage }, options),

    /** The nearest images of a registered model's features to a picture. */
    searchPicture: (query: SearchInput, picture: Blob, options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'search'], query, octets: picture, repeatable: true, answer: pictureSearchView },
        { ...options, timeoutMs: options.timeoutMs ?? searchTimeoutMs },
      ),
  };
}

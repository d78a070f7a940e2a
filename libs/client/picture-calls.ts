import {
  CairnError,
  type distributionQuery,
  type imageQuery,
  lineageView,
  type neighboursQuery,
  neighboursView,
  type pictureSearchQuery,
  pictureSearchView,
  rejectedPage,
  scoreDistribution,
  shardGrid,
} from '@cairn/contract';
import type { z } from 'zod';
import type { Requester, RequestOptions } from './request.ts';

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

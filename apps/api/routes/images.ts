import { createHash } from 'node:crypto';
import { addAbortSignal, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import {
  CairnError,
  callerActions,
  datasetReference,
  imageId,
  imageQuery,
  maxPictureBytes,
  pictureSearchQuery,
  pictureSearchView,
} from '@cairn/contract';
import { getDataset } from '@cairn/db';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, problems } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { incompleteBody } from '../http/request-body.ts';
import type { ApiDeps } from './api-deps.ts';

const yearSeconds = 365 * 86_400;

export function imageRoutes(app: App, { prisma, images }: ApiDeps): void {
  app.get(
    '/v1/datasets/:name/images/:id',
    {
      config: { role: 'viewer', load: 'picture' },
      schema: {
        operationId: 'getImage',
        tags: ['datasets'],
        summary: 'Show an image of a dataset, as a JPEG of at most `size` pixels on each side',
        description:
          'Upright, never enlarged. With a version (`name@version`) the answer may be kept for as long as the browser likes: a version never ' +
          'changes. An image that cannot be decoded is `unreadable_image`, with the reason. Images of tars are found by the lists of a run.',
        params: z.object({ name: datasetReference, id: imageId }),
        querystring: imageQuery,
        response: { 200: z.any().describe('The JPEG.'), ...problems },
      },
    },
    async (request, reply) => {
      const { name: reference, id } = request.params;
      const [name, version] = reference.split('@');
      if (name === undefined) throw new CairnError('invalid_request', 'the dataset has no name');
      const { projectId } = callerOf(request);
      const dataset = await getDataset(prisma, { projectId, name, version: version === undefined ? null : Number(version) });
      const { size, split } = request.query;
      const identity = [dataset.id, dataset.digest, split ?? '', id, size].join(' ');
      const etag = `"${createHash('sha256').update(identity).digest('base64url').slice(0, 22)}"`;
      const caching = version === undefined ? 'private, no-cache' : `private, max-age=${yearSeconds}, immutable`;
      if (request.headers['if-none-match'] === etag) return reply.code(304).headers({ etag, 'cache-control': caching }).send();
      const picture = await images(dataset, id, request.query);
      return reply.headers({ etag, 'cache-control': caching, 'content-type': 'image/jpeg' }).send(picture);
    },
  );
}

const uploadMs = 30_000;

export function searchRoutes(app: App, { searchByPicture }: ApiDeps): void {
  app.post(
    '/v1/search',
    {
      config: { role: callerActions['picture.search'], maxOctets: maxPictureBytes, load: 'search' },
      schema: {
        operationId: 'searchPicture',
        tags: ['models'],
        summary: 'Find the nearest images to a picture, by a registered model and its features',
        description:
          'The body is the picture, as binary data: JPEG, PNG, WebP, GIF or TIFF, at most 20 MB. The search is exact. The first one with a model ' +
          'fetches its features, which takes a while; features that are larger than the cache of the service (CAIRN_CACHE_MB) are refused. Nothing ' +
          'is stored.',
        querystring: pictureSearchQuery,
        response: { 200: pictureSearchView, ...problems },
      },
    },
    async (request, reply) => {
      const { body, query } = request;
      if (!(body instanceof Readable))
        throw new CairnError('invalid_request', 'The picture is missing: send it as application/octet-stream');
      // Its sender holds the place of a search, of which there are few.
      const picture = await buffer(addAbortSignal(AbortSignal.timeout(uploadMs), body)).catch((error: unknown) => {
        throw incompleteBody(error);
      });
      if (picture.length === 0) throw new CairnError('invalid_request', 'The picture has no bytes');
      return searchByPicture({ projectId: callerOf(request).projectId, ...query, picture, signal: closedSignal(reply) });
    },
  );
}

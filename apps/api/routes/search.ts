import { addAbortSignal, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { CairnError, callerActions, maxPictureBytes, pictureSearchQuery, pictureSearchView } from '@cairn/contract';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { incompleteBody } from '../http/request-body.ts';
import { problems } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

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

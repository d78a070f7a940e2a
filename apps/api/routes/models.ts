import { modelPage, pageQuery } from '@cairn/contract';
import { listModels, listModelVersions } from '@cairn/db';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { nameParams, problems } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

export function modelRoutes(app: App, { prisma }: ApiDeps): void {
  const tags = ['models'];
  const config = { role: 'viewer' } as const;

  app.get(
    '/v1/models',
    {
      config,
      schema: {
        operationId: 'listModels',
        tags,
        summary: 'List models by name, each in its newest version',
        querystring: pageQuery,
        response: { 200: modelPage, ...problems },
      },
    },
    (request) => listModels(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );

  app.get(
    '/v1/models/:name',
    {
      config,
      schema: {
        operationId: 'listModelVersions',
        tags,
        summary: 'List the versions of a model, newest first',
        params: nameParams,
        querystring: pageQuery,
        response: { 200: modelPage, ...problems },
      },
    },
    (request) => listModelVersions(prisma, { projectId: callerOf(request).projectId, name: request.params.name, ...request.query }),
  );
}

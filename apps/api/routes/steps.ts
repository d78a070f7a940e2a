import { attemptList, checkpointList, metricsQuery, metricsView, shardList, shardsQuery, stepView } from '@cairn/contract';
import { getStep, listAttempts, listCheckpoints, listShards, readMetrics } from '@cairn/db';
import type { FastifyRequest } from 'fastify';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { problems, stepParams } from '../http/route-schemas.ts';
import type { ApiDeps } from './api-deps.ts';

export function stepRoutes(app: App, { prisma, admission }: ApiDeps): void {
  const tags = ['steps'];
  const config = { role: 'viewer' } as const;
  const stepOf = (request: FastifyRequest, { id, name }: { id: string; name: string }) => ({
    projectId: callerOf(request).projectId,
    runId: id,
    name,
  });

  app.get(
    '/v1/runs/:id/steps/:name',
    {
      config,
      schema: { operationId: 'getStep', tags, summary: 'Show a step', params: stepParams, response: { 200: stepView, ...problems } },
    },
    (request) => getStep(prisma, { ...stepOf(request, request.params), admission }),
  );

  app.get(
    '/v1/runs/:id/steps/:name/attempts',
    {
      config,
      schema: {
        operationId: 'listAttempts',
        tags,
        summary: 'List the attempts of a step, oldest first',
        params: stepParams,
        response: { 200: attemptList, ...problems },
      },
    },
    (request) => listAttempts(prisma, stepOf(request, request.params)),
  );

  app.get(
    '/v1/runs/:id/steps/:name/metrics',
    {
      config,
      schema: {
        operationId: 'readMetrics',
        tags,
        summary: "Read a step's curves",
        description:
          'Merged over its attempts: points of an attempt that resumed from step k replace the earlier points after k, and `attempts` says where ' +
          'each begins. Of a series longer than `maxPoints` the ends and the extremes of equally long pieces are kept, and `decimated` says so. ' +
          'Continue a curve with `after`.',
        params: stepParams,
        querystring: metricsQuery,
        response: { 200: metricsView, ...problems },
      },
    },
    (request) =>
      readMetrics(prisma, {
        ...stepOf(request, request.params),
        ...request.query,
        names: request.query.names?.split(',').filter((name) => name !== ''),
      }),
  );

  app.get(
    '/v1/runs/:id/steps/:name/checkpoints',
    {
      config,
      schema: {
        operationId: 'listCheckpoints',
        tags,
        summary: 'List the checkpoints of a training stage, newest first',
        description: 'A record stays when its file is removed, which happens once the result of the stage is stored.',
        params: stepParams,
        response: { 200: checkpointList, ...problems },
      },
    },
    (request) => listCheckpoints(prisma, stepOf(request, request.params)),
  );

  app.get(
    '/v1/runs/:id/steps/:name/shards',
    {
      config,
      schema: {
        operationId: 'listShards',
        tags,
        summary: 'List the shards of an extraction, 1,000 at a time',
        params: stepParams,
        querystring: shardsQuery,
        response: { 200: shardList, ...problems },
      },
    },
    (request) => listShards(prisma, { ...stepOf(request, request.params), from: request.query.from }),
  );
}

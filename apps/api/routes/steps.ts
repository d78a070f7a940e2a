import {
  attemptList,
  checkpointList,
  metricsQuery,
  metricsView,
  rejectedPage,
  rejectedQuery,
  shardGrid,
  shardList,
  shardsQuery,
  stepView,
} from '@cairn/contract';
import {
  decodeCursor,
  encodeCursor,
  getStep,
  listAttempts,
  listCheckpoints,
  listRejectedFiles,
  listShards,
  readMetrics,
  readShardGrid,
} from '@cairn/db';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { type App, problems, stepParams } from '../http/bare-app.ts';
import { readRejected } from '../images/read-neighbours.ts';
import type { ApiDeps } from './api-deps.ts';

/** The shard and the row in its file of the next rejected image. */
const rejectedKey = z.tuple([z.number().int().min(0), z.number().int().min(0)]);
/** Files that one call reads: a shard has at least one rejected image. */
const filesPerCall = 20;

export function stepRoutes(app: App, { prisma, admission, tables }: ApiDeps): void {
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

  app.get(
    '/v1/runs/:id/steps/:name/shards/grid',
    {
      config,
      schema: {
        operationId: 'getShardGrid',
        tags,
        summary: 'Show all shards of an extraction at once, the time of its workers, its rate and the count proof',
        description:
          'One array for each property, so that 10,000 shards are a few hundred kilobytes; at most the first 20,000. A reused step has those ' +
          'of the step that made its result.',
        params: stepParams,
        response: { 200: shardGrid, ...problems },
      },
    },
    (request) => readShardGrid(prisma, stepOf(request, request.params)),
  );

  app.get(
    '/v1/runs/:id/steps/:name/rejected',
    {
      config: { ...config, load: 'transfer' },
      schema: {
        operationId: 'listRejected',
        tags,
        summary: 'List the images that an extraction left out, with the reason of each',
        description: 'In the order of the shards, of those that are committed.',
        params: stepParams,
        querystring: rejectedQuery,
        response: { 200: rejectedPage, ...problems },
      },
    },
    async (request) => {
      const { limit, cursor } = request.query;
      const [from, skip] = decodeCursor(cursor, rejectedKey) ?? [0, 0];
      const { files, total, dataset } = await listRejectedFiles(prisma, { ...stepOf(request, request.params), from, limit: filesPerCall });
      const { items, next } = await readRejected(tables, files, { skip, limit });
      const last = files.at(-1);
      // Where a call has read all of its files, there may be more.
      const following = next ?? (files.length === filesPerCall && last !== undefined ? [last.shard + 1, 0] : null);
      return { items, nextCursor: following === null ? null : encodeCursor(following), total, dataset };
    },
  );
}

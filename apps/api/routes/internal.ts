import {
  attemptSpec,
  CairnError,
  claimRequest,
  finishRequest,
  idOf,
  protocolHeader,
  reportReply,
  reportRequest,
  shardClaim,
  shardCommit,
  stagedFilesPage,
  startRequest,
} from '@cairn/contract';
import type { Engine } from '@cairn/engine';
import { isAttemptToken } from '@cairn/runtime';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { bearerOf } from '../auth/authenticate.ts';
import { type App, problems } from '../http/bare-app.ts';

const attemptParams = z.object({ id: idOf('attempt') });
const shardParams = z.object({ id: idOf('attempt'), index: z.coerce.number().int().min(0).max(1_000_000) });
const fromQuery = z.object({ from: z.coerce.number().int().min(0).max(1_000_000).default(0) });
const nothing = z.object({});
/** The raw id: the schemas validate it only after the token was accepted. */
const pathId = z.object({ id: z.string() });
const generationHeader = z.coerce.number().int().min(1).max(1_000_000);
const protocolOf = z.object({ [protocolHeader]: z.coerce.number().int().min(1).max(1_000_000).default(1) });

declare module 'fastify' {
  interface FastifyRequest {
    /** The attempt's generation, proved by the token, on the routes of /internal. */
    generation: number;
  }
}

export type InternalDeps = { engine: Engine; serverKey: string };

/**
 * The routes for attempts. Each proves by its token which attempt and generation it is; the engine rejects those that have ended or were
 * replaced (`superseded`), and their process stops.
 */
export function internalRoutes(app: App, { engine, serverKey }: InternalDeps): void {
  app.decorateRequest('generation', 0);
  app.addHook('onRequest', async (request) => {
    if (request.routeOptions.url?.startsWith('/internal/')) request.generation = provenGeneration(request, serverKey);
  });

  app.get('/internal/v1/attempts/:id', { schema: { params: attemptParams, response: { 200: attemptSpec, ...problems } } }, (request) =>
    engine.attemptSpec(request.params.id, request.generation, agentProtocol(request)),
  );

  app.post(
    '/internal/v1/attempts/:id/start',
    { schema: { params: attemptParams, body: startRequest, response: { 200: nothing, ...problems } } },
    async (request) => {
      await engine.startAttempt(request.params.id, request.generation, request.body);
      return {};
    },
  );

  app.post(
    '/internal/v1/attempts/:id/reports',
    { schema: { params: attemptParams, body: reportRequest, response: { 200: reportReply, ...problems } } },
    (request) => engine.report(request.params.id, request.generation, request.body),
  );

  app.post(
    '/internal/v1/attempts/:id/shards/claim',
    { schema: { params: attemptParams, body: claimRequest, response: { 200: shardClaim, ...problems } } },
    (request) => engine.claimShard(request.params.id, request.generation, request.body),
  );

  app.get(
    '/internal/v1/attempts/:id/shards/files',
    { schema: { params: attemptParams, querystring: fromQuery, response: { 200: stagedFilesPage, ...problems } } },
    (request) => engine.stagedFiles(request.params.id, request.generation, request.query.from),
  );

  app.post(
    '/internal/v1/attempts/:id/shards/:index/commit',
    { schema: { params: shardParams, body: shardCommit, response: { 200: nothing, ...problems } } },
    async (request) => {
      const { id, index } = request.params;
      await engine.commitShard(id, request.generation, index, request.body);
      return {};
    },
  );

  app.post(
    '/internal/v1/attempts/:id/shards/:index/release',
    { schema: { params: shardParams, response: { 200: nothing, ...problems } } },
    async (request) => {
      const { id, index } = request.params;
      await engine.releaseShard(id, request.generation, index);
      return {};
    },
  );

  app.post(
    '/internal/v1/attempts/:id/finish',
    { schema: { params: attemptParams, body: finishRequest, response: { 200: nothing, ...problems } } },
    async (request) => {
      await engine.finishAttempt(request.params.id, request.generation, request.body);
      return {};
    },
  );
}

/** @throws CairnError `unauthenticated` unless the token belongs to the attempt in the path and the generation in the header */
function provenGeneration(request: FastifyRequest, serverKey: string): number {
  const headers = generationHeader.safeParse(request.headers['x-cairn-generation']);
  if (!headers.success) throw new CairnError('unauthenticated', 'The header x-cairn-generation is not the generation of the attempt');
  const { id } = pathId.parse(request.params);
  const token = bearerOf(request.headers.authorization);
  if (token === null || !isAttemptToken(token, serverKey, id, headers.data)) {
    throw new CairnError('unauthenticated', `The token does not belong to this attempt and its generation ${headers.data}`);
  }
  return headers.data;
}

/** @throws CairnError `invalid_request` when the header is not a protocol number */
function agentProtocol(request: FastifyRequest): number {
  const headers = protocolOf.safeParse(request.headers);
  if (!headers.success) throw new CairnError('invalid_request', `The header ${protocolHeader} is not a protocol number`);
  return headers.data[protocolHeader];
}

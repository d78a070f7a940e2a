import { Readable } from 'node:stream';
import { CairnError, callerActions, maxWeightsBytes, pageQuery, weightsPage, weightsQuery, weightsView } from '@cairn/contract';
import { getWeights, inTransaction, listWeights } from '@cairn/db';
import { audit } from '@cairn/engine';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { requireRole } from '../auth/authenticate.ts';
import { callerOf } from '../auth/guard.ts';
import type { App } from '../http/bare-app.ts';
import { closedSignal } from '../http/closing.ts';
import { nameParams, problems } from '../http/route-schemas.ts';
import { importWeights } from '../import-weights.ts';
import type { ApiDeps } from './api-deps.ts';

export function weightsRoutes(app: App, deps: ApiDeps): void {
  const { prisma, weightsQuota } = deps;
  const tags = ['weights'];

  app.put(
    '/v1/weights/:name',
    {
      config: { role: callerActions['weights.import'], maxOctets: maxWeightsBytes, load: 'transfer' },
      schema: {
        operationId: 'importWeights',
        tags,
        summary: 'Import a file of tensors under a name',
        description:
          'The body is the file, as binary data; the query describes it. Nothing is kept unless all of it arrives with the declared SHA-256. ' +
          'Importing the same file under the same name changes nothing. `cairn import weights` checks the file against the backbone first, which is ' +
          'not done here; the trainer rejects a mismatch.',
        params: nameParams,
        querystring: weightsQuery,
        response: {
          200: weightsView.describe('They already exist.'),
          201: weightsView.describe('They were imported.'),
          ...problems,
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { body } = request;
      if (!(body instanceof Readable)) throw new CairnError('invalid_request', 'The file is missing: send it as application/octet-stream');
      const { name } = request.params;
      const giveBack = await weightsQuota.reserve({ projectId: caller.projectId, owner: caller.name, name, bytes: lengthOf(request) });
      const signal = closedSignal(reply);
      const { weights, created } = await importWeights(deps, { actor: caller, name, declared: request.query, body, signal }).finally(
        giveBack,
      );
      return reply
        .code(created ? 201 : 200)
        .header('location', `/v1/weights/${name}`)
        .send(weights);
    },
  );

  app.get(
    '/v1/weights',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'listWeights',
        tags,
        summary: 'List imported weights, newest first',
        querystring: pageQuery,
        response: { 200: weightsPage, ...problems },
      },
    },
    (request) => listWeights(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );

  app.get(
    '/v1/weights/:name',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getWeights',
        tags,
        summary: 'Show imported weights',
        params: nameParams,
        response: { 200: weightsView, ...problems },
      },
    },
    (request) => getWeights(prisma, { projectId: callerOf(request).projectId, name: request.params.name }),
  );

  app.delete(
    '/v1/weights/:name',
    {
      config: { role: callerActions['weights.import'] },
      schema: {
        operationId: 'removeWeights',
        tags,
        summary: 'Remove imported weights',
        description:
          'Only an admin can remove weights of another owner. Runs that were submitted with them keep them. The next garbage collection (`cairn gc`) removes the file once no run refers to it.',
        params: nameParams,
        response: { 204: z.null().describe('They were removed.'), ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { id, name, sha256, owner } = await getWeights(prisma, { projectId: caller.projectId, name: request.params.name });
      if (owner !== caller.name) requireRole(caller, 'admin', `the weights ${name} belong to ${owner}`);
      await inTransaction(prisma, async (tx) => {
        const { count } = await tx.weights.deleteMany({ where: { id } });
        const before = { name, sha256, owner };
        if (count > 0) await audit(tx, caller, { action: 'weights.remove', target: id, before, after: null });
      });
      return reply.code(204).send(null);
    },
  );
}

/** The file's declared length, before a byte is read; a body cannot exceed it. */
function lengthOf({ headers }: FastifyRequest): number {
  const announced = headers['content-length'];
  if (announced === undefined) throw new CairnError('invalid_request', 'The length of the file is missing: send Content-Length');
  return Number(announced);
}

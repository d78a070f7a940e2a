import { auditPage, auditQuery, CairnError, callerActions, idOf, tokenCreated, tokenList, tokenRequest } from '@cairn/contract';
import { inTransaction, isUniqueViolation, listAudit, listTokens, tokenViewOf } from '@cairn/db';
import { audit } from '@cairn/engine';
import { newId } from '@cairn/runtime';
import { z } from 'zod';
import { callerOf } from '../auth/guard.ts';
import { hashSecret, newSecret } from '../auth/secrets.ts';
import { type App, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

const dayMs = 86_400_000;

export function tokenRoutes(app: App, { prisma }: ApiDeps): void {
  const tags = ['tokens'];
  const config = { role: callerActions['token.manage'] } as const;

  app.get(
    '/v1/tokens',
    {
      config,
      schema: {
        operationId: 'listTokens',
        tags,
        summary: 'List the tokens that are not revoked',
        response: { 200: tokenList, ...problems },
      },
    },
    (request) => listTokens(prisma, callerOf(request)),
  );

  app.post(
    '/v1/tokens',
    {
      config,
      schema: {
        operationId: 'createToken',
        tags,
        summary: 'Create a token',
        description: 'Only this response contains its `secret`, which is not stored.',
        body: tokenRequest,
        response: { 201: tokenCreated, ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { name, role, expiresInDays } = request.body;
      const secret = newSecret();
      const expiresAt = expiresInDays === undefined ? null : new Date(Date.now() + expiresInDays * dayMs);
      const data = { id: newId('token'), projectId: caller.projectId, name, role, hash: hashSecret(secret), expiresAt };
      const row = await inTransaction(prisma, async (tx) => {
        const made = await tx.token.create({ data });
        await audit(tx, caller, { action: 'token.create', target: made.id, before: null, after: { name, role, expiresAt } });
        return made;
      }).catch((error: unknown) => {
        if (!isUniqueViolation(error)) throw error;
        throw new CairnError('name_taken', `Token ${name} already exists; revoke it first or choose another name`, { cause: error });
      });
      return reply.code(201).send({ ...tokenViewOf(row), secret });
    },
  );

  app.delete(
    '/v1/tokens/:id',
    {
      config,
      schema: {
        operationId: 'revokeToken',
        tags,
        summary: 'Revoke a token',
        params: z.object({ id: idOf('token') }),
        response: { 204: z.null().describe('Revoked.'), ...problems },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request);
      const { id } = request.params;
      const where = { id, projectId: caller.projectId, revokedAt: null };
      await inTransaction(prisma, async (tx) => {
        const revokedAt = new Date();
        const [token] = await tx.token.updateManyAndReturn({ where, data: { revokedAt } });
        if (token === undefined) throw new CairnError('not_found', `Token ${id} not found, or already revoked`);
        const { name, role, expiresAt } = token;
        const before = { name, role, expiresAt, revokedAt: null };
        await audit(tx, caller, { action: 'token.revoke', target: id, before, after: { ...before, revokedAt } });
      });
      return reply.code(204).send(null);
    },
  );

  app.get(
    '/v1/audit',
    {
      config: { role: callerActions['audit.read'] },
      schema: {
        operationId: 'listAudit',
        tags,
        summary: 'List who changed what, newest first',
        querystring: auditQuery,
        response: { 200: auditPage, ...problems },
      },
    },
    (request) => listAudit(prisma, { projectId: callerOf(request).projectId, ...request.query }),
  );
}

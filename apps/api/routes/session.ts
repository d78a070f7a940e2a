import { actionsOfRole, meView, sessionRequest } from '@cairn/contract';
import { inTransaction } from '@cairn/db';
import { audit } from '@cairn/engine';
import { z } from 'zod';
import { authenticate, credentialOf, refuseOtherSites, sessionCookie } from '../auth/authenticate.ts';
import { callerOf } from '../auth/guard.ts';
import { hashSecret, newSessionSecret } from '../auth/secrets.ts';
import { type App, problems } from '../http/bare-app.ts';
import type { ApiDeps } from './api-deps.ts';

const sessionSeconds = 30 * 86_400;
/** Most sessions of one token: the oldest ends when another begins. */
const mostSessions = 100;

export function sessionRoutes(app: App, { prisma, load }: ApiDeps): void {
  const tags = ['session'];

  app.post(
    '/v1/session',
    {
      config: { isOpen: true },
      schema: {
        operationId: 'startSession',
        tags,
        summary: 'Sign a browser in',
        description:
          'Exchanges a token for the cookie `cairn_session` (`__Host-cairn_session` with HTTPS), which every call accepts in place of the token ' +
          'for 30 days, until the token ends, or until the session is ended. Scripts cannot read the cookie. Changes with it are accepted only ' +
          'from pages of this service.',
        security: [],
        body: sessionRequest,
        response: { 204: z.null().describe('Signed in; the cookie is in `Set-Cookie`.'), ...problems },
      },
    },
    async (request, reply) => {
      // A page of another site must not sign a visitor in; programs other than browsers send no such header.
      const isBrowser = request.headers['sec-fetch-site'] !== undefined || request.headers.origin !== undefined;
      if (isBrowser) refuseOtherSites(request);
      const credential = { kind: 'token', secret: request.body.token } as const;
      const caller = await authenticate(prisma, load.firstReads, { credential, address: request.ip });
      const { tokenId } = caller;
      const secret = newSessionSecret();
      const now = Date.now();
      const expiresAt = new Date(Math.min(now + sessionSeconds * 1000, caller.expiresAt?.getTime() ?? Number.POSITIVE_INFINITY));
      await inTransaction(prisma, async (tx) => {
        const older = await tx.session.findMany({
          where: { tokenId },
          orderBy: { createdAt: 'desc' },
          skip: mostSessions - 1,
          select: { hash: true },
        });
        await tx.session.deleteMany({
          where: { OR: [{ expiresAt: { lt: new Date(now) } }, { hash: { in: older.map(({ hash }) => hash) } }] },
        });
        await tx.session.create({ data: { hash: hashSecret(secret), tokenId, expiresAt } });
        await audit(tx, caller, { action: 'session.start', target: tokenId, before: null, after: { expiresAt } });
      });
      const maxAgeSeconds = Math.floor((expiresAt.getTime() - now) / 1000);
      return reply
        .code(204)
        .header('set-cookie', sessionCookie(request, secret, maxAgeSeconds))
        .send(null);
    },
  );

  app.delete(
    '/v1/session',
    {
      config: { isOpen: true },
      schema: {
        operationId: 'endSession',
        tags,
        summary: 'Sign the browser out',
        description: 'Ends the session of the cookie; without one nothing happens. Its streams end within 15 seconds.',
        security: [],
        response: { 204: z.null().describe('Signed out.'), ...problems },
      },
    },
    async (request, reply) => {
      const credential = credentialOf(request);
      if (credential?.kind === 'session') {
        refuseOtherSites(request);
        await endSession(hashSecret(credential.secret), request.ip);
      }
      return reply
        .code(204)
        .header('set-cookie', sessionCookie(request, null, 0))
        .send(null);
    },
  );

  async function endSession(hash: string, address: string): Promise<void> {
    await inTransaction(prisma, async (tx) => {
      const session = await tx.session.findUnique({ where: { hash }, include: { token: true } });
      if (session === null) return;
      const { token, tokenId, expiresAt } = session;
      await tx.session.delete({ where: { hash } });
      const actor = { name: token.name, projectId: token.projectId, tokenId, address };
      await audit(tx, actor, { action: 'session.end', target: tokenId, before: { expiresAt }, after: null });
    });
  }

  app.get(
    '/v1/me',
    {
      config: { role: 'viewer' },
      schema: {
        operationId: 'getMe',
        tags,
        summary: 'Show who calls and what the role allows',
        response: { 200: meView, ...problems },
      },
    },
    async (request) => {
      const { tokenId, name, role, expiresAt } = callerOf(request);
      return { tokenId, tokenName: name, role, expiresAt: expiresAt?.toISOString() ?? null, actions: actionsOfRole(role) };
    },
  );
}

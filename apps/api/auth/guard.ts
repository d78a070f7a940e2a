import { isCairnError, type TokenRole } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { audit } from '@cairn/engine';
import type { Logger } from '@cairn/runtime';
import type { FastifyRequest } from 'fastify';
import type { App } from '../http/bare-app.ts';
import { createRateLimit } from '../load/call-rates.ts';
import type { LoadLimits } from '../load/load-limits.ts';
import { authenticate, type Caller, credentialOf, RefusedToken, refuseOtherSites, requireRole } from './authenticate.ts';

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller | null;
  }
  interface FastifyContextConfig {
    /** The minimum role to call the route; a route without one is open to all. */
    role?: TokenRole;
    /** True for a route of /v1 that is open to all. */
    isOpen?: true;
  }
}

/**
 * Lets a request reach a route of /v1 only with a token, or the session of one, of at least the role in the route's `config.role`. A change
 * with a session must come from the service's own pages.
 */
export function guardRoutes(app: App, { prisma, load, log }: { prisma: PrismaClient; load: LoadLimits; log: Logger }): void {
  const refusals = createRefusals(prisma, log);
  app.decorateRequest('caller', null);
  app.addHook('onRoute', (route) => {
    if (route.url.startsWith('/v1') && route.config?.role === undefined && route.config?.isOpen !== true)
      throw new Error(`the route ${route.method} ${route.url} does not name a role`);
  });
  app.addHook('onRequest', async (request) => {
    const { role } = request.routeOptions.config;
    if (role === undefined) return;
    const credential = credentialOf(request);
    request.caller = await authenticate(prisma, load.firstReads, { credential, address: request.ip });
    if (credential?.kind === 'session') refuseOtherSites(request);
    requireRole(request.caller, role);
  });
  // Handlers refuse too, such as changes of what others own, and sign-ins with a token that is over.
  app.addHook('onError', async (request, _reply, error) => refusals.record(request, error, request.caller));
}

/** The caller of a guarded route. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null) throw new Error(`the route ${request.url} is open, so its caller is unknown`);
  return request.caller;
}

/** Identical refusals of a token are recorded once in this time, so that repeated calls do not fill the table. */
const everyMs = 60_000;
const maxRemembered = 10_000;

type Refusals = {
  /** Records that a known token was refused. Never fails: the call is refused in any case. */
  record(request: FastifyRequest, error: unknown, caller: Caller | null): Promise<void>;
};

/** The audit of refused calls with a known token: revoked, expired, with an insufficient role, or from a page of another site. */
function createRefusals(prisma: PrismaClient, log: Logger): Refusals {
  const auditLimit = createRateLimit({ perSecond: 1000 / everyMs, most: maxRemembered });
  return {
    async record(request, error, caller) {
      const holder = error instanceof RefusedToken ? error.holder : caller;
      if (holder === null || !isCairnError(error, 'unauthenticated', 'forbidden', 'cross_site')) return;
      const target = `${request.method} ${request.routeOptions.url}`;
      if (auditLimit.take([holder.tokenId, error.code, target].join(' ')) > 0) return;
      const details = { code: error.code, reason: error.message, path: request.url.slice(0, 300) };
      await audit(prisma, holder, { action: 'call.refused', target, before: null, after: null, details }).catch((err: unknown) =>
        log.warn({ err }, 'could not record a refused call'),
      );
    },
  };
}

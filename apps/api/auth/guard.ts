import type { TokenRole } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import type { Logger } from '@cairn/runtime';
import type { FastifyRequest } from 'fastify';
import type { App } from '../http/app.ts';
import type { LoadLimits } from '../load/load-limits.ts';
import { authenticate, type Caller, requireRole } from './authenticate.ts';
import { createRefusals } from './refusals.ts';

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller | null;
  }
  interface FastifyContextConfig {
    /** The least role that may call the route; a route without one is open to all. */
    role?: TokenRole;
  }
}

/** Lets a request reach a route of /v1 only with a token of the role that the route's `config.role` names. */
export function guardRoutes(app: App, { prisma, load, log }: { prisma: PrismaClient; load: LoadLimits; log: Logger }): void {
  const refusals = createRefusals(prisma, log);
  app.decorateRequest('caller', null);
  app.addHook('onRoute', (route) => {
    if (route.url.startsWith('/v1') && route.config?.role === undefined)
      throw new Error(`the route ${route.method} ${route.url} names no role`);
  });
  app.addHook('onRequest', async (request) => {
    const { role } = request.routeOptions.config;
    if (role === undefined) return;
    try {
      request.caller = await authenticate(prisma, load.firstReads, { authorization: request.headers.authorization, address: request.ip });
      requireRole(request.caller, role);
    } catch (error) {
      await refusals.record(request, error, request.caller);
      throw error;
    }
  });
}

/** Who calls a guarded route. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === null) throw new Error(`the route ${request.url} is open, so nobody is known to call it`);
  return request.caller;
}

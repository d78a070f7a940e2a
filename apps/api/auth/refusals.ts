import { isCairnError } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { audit } from '@cairn/engine';
import type { Logger } from '@cairn/runtime';
import type { FastifyRequest } from 'fastify';
import { createRateLimit } from '../load/rate-limit.ts';
import { type Caller, RefusedToken } from './authenticate.ts';

/** A token's refusals of one kind by one route are written once in this time: who repeats them must not fill the table. */
const everyMs = 60_000;
const mostRemembered = 10_000;

export type Refusals = {
  /** Writes down that a token was refused, where it is known whose it is. Never fails: the call is refused in any case. */
  record(request: FastifyRequest, error: unknown, caller: Caller | null): Promise<void>;
};

/** The audit of calls that were refused to those who have a token: one that was revoked or has expired, or one with too weak a role. */
export function createRefusals(prisma: PrismaClient, log: Logger): Refusals {
  const seldom = createRateLimit({ perSecond: 1000 / everyMs, most: mostRemembered });
  return {
    async record(request, error, caller) {
      const holder = error instanceof RefusedToken ? error.holder : caller;
      if (holder === null || !isCairnError(error, 'unauthenticated', 'forbidden')) return;
      const target = `${request.method} ${request.routeOptions.url}`;
      if (seldom.take([holder.tokenId, error.code, target].join(' ')) > 0) return;
      const details = { code: error.code, reason: error.message, path: request.url.slice(0, 300) };
      await audit(prisma, holder, { action: 'call.refused', target, before: null, after: null, details }).catch((err: unknown) =>
        log.warn({ err }, 'a refused call could not be written down'),
      );
    },
  };
}

import { CairnError } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { deadline, untilAborted } from '@cairn/runtime';
import { z } from 'zod';
import { type App, problems } from '../http/bare-app.ts';
import type { LoadLimits } from '../load/load-limits.ts';

const readyLimitMs = 3_000;
const status = z.object({ status: z.literal('ok') });

/** Liveness and readiness. Open to all, since they reveal nothing else. */
export function healthRoutes(app: App, { prisma, load }: { prisma: PrismaClient; load: LoadLimits }): void {
  const tags = ['health'];
  // They must answer even when the service is overloaded.
  const config = { load: 'none' } as const;

  app.get(
    '/healthz',
    {
      config,
      schema: {
        operationId: 'checkHealth',
        tags,
        summary: 'Whether the program runs; checks nothing else',
        security: [],
        response: { 200: status, ...problems },
      },
    },
    async () => ({ status: 'ok' as const }),
  );

  app.get(
    '/readyz',
    {
      config,
      schema: {
        operationId: 'checkReadiness',
        tags,
        summary: 'Whether every required part answers; names the one that does not',
        security: [],
        response: { 200: status, ...problems },
      },
    },
    async () => {
      const limit = deadline(undefined, readyLimitMs);
      try {
        await untilAborted(
          load.firstReads('ready', () => prisma.$queryRaw`select 1 from run limit 1`),
          limit,
        );
      } catch (cause) {
        const why = limit.aborted ? `no answer within ${readyLimitMs / 1000} s` : reasonOf(cause);
        throw new CairnError('unavailable', `PostgreSQL is unavailable: ${why}`, { cause, details: { part: 'database' } });
      }
      return { status: 'ok' as const };
    },
  );
}

/** Prisma's messages begin with the call; the last line says what went wrong. */
const reasonOf = (cause: unknown): string =>
  cause instanceof Error ? (cause.message.trim().split('\n').at(-1) ?? cause.name) : String(cause);

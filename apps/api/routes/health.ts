import { CairnError, liveAttemptStates, runState } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import { deadline, type Logger, type Metrics, untilAborted } from '@cairn/runtime';
import type { FastifyContextConfig } from 'fastify';
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

/** The text that Prometheus scrapes. */
export type MetricsPage = () => Promise<{ contentType: string; body: string }>;

/** Metrics of the servers and, queried at each scrape, of what runs and waits. */
export function createMetricsPage({ prisma, metrics, log }: { prisma: PrismaClient; metrics: Metrics; log: Logger }): MetricsPage {
  const isDatabaseUp = metrics.gauge({ name: 'database_up', help: '1 when the database answered the scrape' });
  const runs = metrics.gauge({ name: 'runs', help: 'Runs by state', labels: ['state'] });
  const waiting = metrics.gauge({ name: 'steps_waiting', help: 'Ready steps that wait to be started', labels: ['pool'] });
  const attempts = metrics.gauge({ name: 'attempts_live', help: 'Live attempts, by state', labels: ['state'] });

  async function refresh(): Promise<void> {
    try {
      const [byState, ready, live] = await Promise.all([
        prisma.run.groupBy({ by: ['state'], _count: true }),
        prisma.step.groupBy({ by: ['pool'], where: { state: 'ready' }, _count: true }),
        prisma.attempt.groupBy({ by: ['state'], where: { state: { in: liveAttemptStates } }, _count: true }),
      ]);
      for (const state of runState.options) runs.set({ state }, byState.find((group) => group.state === state)?._count ?? 0);
      for (const pool of ['gpu', 'tasks']) waiting.set({ pool }, ready.find((group) => group.pool === pool)?._count ?? 0);
      attempts.reset();
      for (const group of live) attempts.set({ state: group.state }, group._count);
      isDatabaseUp.set(1);
    } catch (err) {
      // The scrape still succeeds: it must show that the database is down.
      log.warn({ err }, 'could not query the gauges of /metrics');
      isDatabaseUp.set(0);
      for (const gauge of [runs, waiting, attempts]) gauge.reset();
    }
  }

  return async () => {
    await refresh();
    return metrics.render();
  };
}

/** GET /metrics, for the role in `config`. */
export function metricsRoute(app: App, page: MetricsPage, config: Pick<FastifyContextConfig, 'role'>): void {
  app.get(
    '/metrics',
    {
      config: { ...config, load: 'probe' },
      schema: {
        operationId: 'readPrometheusMetrics',
        tags: ['health'],
        summary: 'Metrics for Prometheus',
        response: { 200: { description: 'The metrics.', content: { 'text/plain': { schema: z.string() } } }, ...problems },
      },
    },
    async (_request, reply) => {
      const { contentType, body } = await page();
      return reply.type(contentType).send(body);
    },
  );
}

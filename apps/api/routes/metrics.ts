import { liveAttemptStates, runState } from '@cairn/contract';
import type { PrismaClient } from '@cairn/db';
import type { Logger, Metrics } from '@cairn/runtime';
import type { FastifyContextConfig } from 'fastify';
import { z } from 'zod';
import { type App, problems } from '../http/bare-app.ts';

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

import { loadLeader, type PrismaClient } from '@cairn/db';
import type { Executor } from '@cairn/executor';
import { type Closer, createMetrics, type Logger, type Metrics, type ProbesOptions, watchLongestBlock } from '@cairn/runtime';
import { createTrigger } from './parts.ts';

export type ApiHealth = {
  /** Since when the api has answered without interruption, in milliseconds since the epoch; null while it does not answer. */
  healthySince(): number | null;
  close(): Promise<void>;
};

const everyMs = 2_000;
const limitMs = 3_000;

/** Polls the health of the api that attempts report to, so that a silent attempt is distinguished from an outage of the api. */
export function watchApiHealth(urls: readonly string[], log: Logger): ApiHealth {
  let since: number | null = null;
  const ask = async (url: string): Promise<boolean> => {
    try {
      const answer = await fetch(new URL('/readyz', url), { signal: AbortSignal.timeout(limitMs) });
      await answer.arrayBuffer();
      return answer.ok;
    } catch (error) {
      log.debug({ err: error, url }, 'the api does not answer');
      return false;
    }
  };
  const trigger = createTrigger({
    everyMs,
    onError: (error) => log.error({ err: error }, 'the health check of the api failed'),
    work: async () => {
      const answers = await Promise.all(urls.map(ask));
      if (answers.some(Boolean)) since ??= Date.now();
      else {
        if (since !== null) log.warn('the api does not answer; silent attempts are not counted as silent until it does');
        since = null;
      }
    },
  });
  trigger.fire();
  return { healthySince: () => since, close: () => trigger.close() };
}

/** The controller is ready when the database has a live leader, this one or another, and it receives changes of its pools. */
export function readinessOf(prisma: PrismaClient, executors: ReadonlyMap<string, Pick<Executor, 'isWatching'>>): ProbesOptions['checks'] {
  return {
    database: async () => {
      const { isAlive, holder } = await loadLeader(prisma);
      if (!isAlive) throw new Error(`no leader${holder === '' ? ' yet' : `; the last one was ${holder}`}`);
    },
    pools: () => {
      const unseen = [...executors].flatMap(([pool, executor]) => (executor.isWatching() ? [] : [pool]));
      if (unseen.length > 0) throw new Error(`not watching ${unseen.join(', ')}`);
    },
  };
}

/** The controller's own metrics: above all whether anything keeps it from renewing the lead in time. */
export function controllerMetrics(closer: Pick<Closer, 'add'>): Metrics {
  const metrics = createMetrics();
  const longest = watchLongestBlock();
  closer.add('event loop monitor', () => longest.close());
  metrics.gauge({
    name: 'controller_longest_block_seconds',
    help: 'Longest time that the event loop was blocked within the last 30 to 60 s.',
    collect: (gauge) => gauge.set(longest.blockedMs() / 1000),
  });
  metrics.gauge({
    name: 'controller_longest_busy_seconds',
    help: 'Longest time that its own code blocked the event loop within the last 30 to 60 s, in CPU time.',
    collect: (gauge) => gauge.set(longest.busyMs() / 1000),
  });
  return metrics;
}

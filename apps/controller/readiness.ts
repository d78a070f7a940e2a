import { loadLeader, type PrismaClient } from '@cairn/db';
import type { Executor } from '@cairn/executor';
import type { ProbesOptions } from '@cairn/runtime';

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

import { loadLeader, type PrismaClient } from '@cairn/db';
import type { Executor } from '@cairn/executor';
import type { ProbesOptions } from '@cairn/runtime';

/** What the controller needs to do its work: the database with a leader in it, itself or another, and sight of its pools. */
export function readinessOf(prisma: PrismaClient, executors: ReadonlyMap<string, Pick<Executor, 'isWatching'>>): ProbesOptions['checks'] {
  return {
    database: async () => {
      const { isAlive, holder } = await loadLeader(prisma);
      if (!isAlive) throw new Error(`no controller leads${holder === '' ? ' yet' : `; the last one was ${holder}`}`);
    },
    pools: () => {
      const unseen = [...executors].flatMap(([pool, executor]) => (executor.isWatching() ? [] : [pool]));
      if (unseen.length > 0) throw new Error(`changes may go by unseen in ${unseen.join(', ')}`);
    },
  };
}

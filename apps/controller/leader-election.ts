import type { PrismaClient } from '@cairn/db';
import { acquireLead, type Leadership, releaseLead } from '@cairn/engine';
import { type Logger, pause } from '@cairn/runtime';

export type LeaderElectionOptions = {
  prisma: PrismaClient;
  holder: string;
  /** The lead expires this long after it was last acquired or renewed. */
  ttlMs: number;
  log: Logger;
  signal: AbortSignal;
  /** Runs while this process leads; must end soon after the signal aborts. */
  lead(leadership: Leadership, signal: AbortSignal): Promise<void>;
};

/**
 * Takes part in leader election for as long as the program runs: acquires the lead when it is free, renews it, and stops leading when it
 * could not be renewed in time by this machine's clock. The epoch in every guard protects against errors of that clock.
 */
export async function runLeaderElection({ prisma, holder, ttlMs, log, signal, lead }: LeaderElectionOptions): Promise<void> {
  const renewEveryMs = ttlMs / 4;
  while (!signal.aborted) {
    const leadership = await acquireLead(prisma, holder, ttlMs).catch((error: unknown) => {
      log.warn({ err: error }, 'leader election failed; retrying');
      return null;
    });
    if (!leadership) {
      await pause(renewEveryMs, signal);
      continue;
    }
    log.info({ epoch: leadership.epoch }, 'became leader');
    await holdLead(leadership);
    log.info({ epoch: leadership.epoch }, 'no longer leader');
  }

  async function holdLead(leadership: Leadership): Promise<void> {
    const end = new AbortController();
    const leading = lead(leadership, AbortSignal.any([signal, end.signal])).catch((error: unknown) =>
      log.error({ err: error }, 'lost leadership: the leader failed'),
    );
    const over = leading.then(() => end.abort());
    let renewedAt = performance.now();
    while (!signal.aborted && !end.signal.aborted) {
      await pause(renewEveryMs, AbortSignal.any([signal, end.signal]));
      const requestedAt = performance.now();
      const renewed = await acquireLead(prisma, holder, ttlMs).catch((error: unknown) => {
        log.warn({ err: error }, 'could not renew the lead');
        return undefined;
      });
      if (renewed?.epoch === leadership.epoch) renewedAt = requestedAt;
      // Another epoch: the lead was lost in between. Undefined: the database did not answer; wait until the lead has expired.
      else if (renewed !== undefined || performance.now() - renewedAt > ttlMs) end.abort();
    }
    end.abort();
    await over;
    await releaseLead(prisma, leadership).catch((error: unknown) =>
      log.warn({ err: error }, 'could not release the lead; it expires by itself'),
    );
  }
}

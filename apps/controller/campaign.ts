import type { PrismaClient } from '@cairn/db';
import { giveUpLead, type Leadership, takeLead } from '@cairn/engine';
import { type Logger, pause } from '@cairn/runtime';

export type CampaignOptions = {
  prisma: PrismaClient;
  holder: string;
  /** The lead expires this long after it was last taken or kept. */
  ttlMs: number;
  log: Logger;
  signal: AbortSignal;
  /** Leads until the signal aborts; must then end soon. */
  reign(lead: Leadership, signal: AbortSignal): Promise<void>;
};

/**
 * Stands for the lead for as long as the program runs: takes it when it is free, keeps it, and stops leading when it could
 * not be kept in time by this machine's clock. The epoch in every guard covers what that clock gets wrong.
 */
export async function campaign({ prisma, holder, ttlMs, log, signal, reign }: CampaignOptions): Promise<void> {
  const stepMs = ttlMs / 4;
  while (!signal.aborted) {
    const lead = await takeLead(prisma, holder, ttlMs).catch((error: unknown) => {
      log.warn({ err: error }, 'the lead cannot be asked for');
      return null;
    });
    if (!lead) {
      await pause(stepMs, signal);
      continue;
    }
    log.info({ epoch: lead.epoch }, 'leads');
    await holdLead(lead);
    log.info({ epoch: lead.epoch }, 'leads no more');
  }

  async function holdLead(lead: Leadership): Promise<void> {
    const end = new AbortController();
    const reigning = reign(lead, AbortSignal.any([signal, end.signal])).catch((error: unknown) =>
      log.error({ err: error }, 'the reign broke off'),
    );
    const over = reigning.then(() => end.abort());
    let keptAt = performance.now();
    while (!signal.aborted && !end.signal.aborted) {
      await pause(stepMs, AbortSignal.any([signal, end.signal]));
      const asked = performance.now();
      const kept = await takeLead(prisma, holder, ttlMs).catch((error: unknown) => {
        log.warn({ err: error }, 'the lead cannot be kept');
        return undefined;
      });
      if (kept?.epoch === lead.epoch) keptAt = asked;
      // Another epoch: the lead was lost in between. Undefined: the database did not answer; wait until the lead has expired.
      else if (kept !== undefined || performance.now() - keptAt > ttlMs) end.abort();
    }
    end.abort();
    await over;
    await giveUpLead(prisma, lead).catch((error: unknown) =>
      log.warn({ err: error }, 'the lead could not be given up; it expires by itself'),
    );
  }
}

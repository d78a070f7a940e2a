import { backoff, deadline, type Logger, sleep } from '@cairn/runtime';
import { databaseFault } from './http/database-fault.ts';

/**
 * Does the first work with the database, again and again while it does not answer: a database that starts beside this program
 * may take a while. Other errors, and the last one after the limit, are thrown.
 */
export async function awaitDatabase(
  work: () => Promise<void>,
  options: { limitMs: number; signal: AbortSignal; log: Logger },
): Promise<void> {
  const limit = deadline(options.signal, options.limitMs);
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const fault = databaseFault(error);
      if (fault === undefined || limit.aborted) throw fault ?? error;
      options.log.warn({ err: error }, 'the database does not answer yet');
      await sleep(backoff({ attempt, baseMs: 100, maxMs: 2_000 }), options.signal);
    }
  }
}

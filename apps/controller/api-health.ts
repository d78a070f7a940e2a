import type { Logger } from '@cairn/runtime';
import { createTrigger } from './trigger.ts';

export type ApiHealth = {
  /** Since when the api has answered without a break, in milliseconds since the epoch; null while it does not. */
  healthySince(): number | null;
  close(): Promise<void>;
};

const everyMs = 2_000;
const limitMs = 3_000;

/** Asks the api where attempts report whether it is well, so that silence is told from an outage of ours. */
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
    onError: (error) => log.error({ err: error }, 'the api cannot be asked'),
    work: async () => {
      const answers = await Promise.all(urls.map(ask));
      if (answers.some(Boolean)) since ??= Date.now();
      else {
        if (since !== null) log.warn('the api does not answer; silence of attempts does not count until it does');
        since = null;
      }
    },
  });
  trigger.fire();
  return { healthySince: () => since, close: () => trigger.close() };
}

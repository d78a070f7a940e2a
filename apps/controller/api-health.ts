import type { Logger } from '@cairn/runtime';
import { createTrigger } from './trigger.ts';

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

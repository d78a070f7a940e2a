import { backoff, sleep } from '@cairn/runtime';

export type BreakerLimits = {
  /** Before the first probe; doubles up to `longestPauseMs`. */
  firstPauseMs: number;
  longestPauseMs: number;
  /** How long callers wait for a source that has stopped answering. */
  patienceMs: number;
};

/** The source did not come back: what it last answered, since when, and how often it was tried. */
export class BrokenSource extends Error {
  constructor(cause: unknown, seconds: number, tries: number) {
    super(`no request has succeeded for ${Math.round(seconds)} s (${tries} tries)`, { cause });
    this.name = 'BrokenSource';
  }
}

export type Breaker = {
  /** Waits until the source may be asked; the caller then reports what became of it: `succeeded`, `failed` or `left`. */
  enter(signal: AbortSignal): Promise<void>;
  succeeded(): void;
  /** The caller gives up without a result: another may probe. */
  left(): void;
  /** @throws BrokenSource when patience is exhausted */
  failed(cause: unknown): void;
  /** Requests that have succeeded so far. */
  successes(): number;
};

/**
 * One circuit breaker for everything that reads a source. While requests fail one caller at a time asks again, after growing pauses, and all
 * others wait for its result: an outage costs a few requests instead of the retries of every read, and nobody gives up before patience ends.
 */
export function createBreaker({ firstPauseMs, longestPauseMs, patienceMs }: BreakerLimits, now: () => number = Date.now): Breaker {
  let outage: { since: number; failures: number; nextAt: number } | null = null;
  let probing: PromiseWithResolvers<void> | null = null;
  let successes = 0;

  const settle = (): void => {
    probing?.resolve();
    probing = null;
  };

  return {
    successes: () => successes,
    left: settle,
    async enter(signal) {
      while (outage !== null) {
        signal.throwIfAborted();
        if (probing === null) {
          const probe = Promise.withResolvers<void>();
          probing = probe;
          try {
            await sleep(Math.max(0, outage.nextAt - now()), signal);
          } catch (error) {
            settle();
            throw error;
          }
          return;
        }
        const aborted = Promise.withResolvers<void>();
        const onAbort = (): void => aborted.resolve();
        signal.addEventListener('abort', onAbort, { once: true });
        await Promise.race([probing.promise, aborted.promise]);
        signal.removeEventListener('abort', onAbort);
      }
      signal.throwIfAborted();
    },
    succeeded() {
      successes += 1;
      outage = null;
      settle();
    },
    failed(cause) {
      const { since, failures } = outage ?? { since: now(), failures: 0 };
      const pause = backoff({ attempt: failures, baseMs: firstPauseMs, maxMs: longestPauseMs });
      outage = { since, failures: failures + 1, nextAt: now() + pause };
      settle();
      if (now() - since > patienceMs) throw new BrokenSource(cause, (now() - since) / 1000, outage.failures);
    },
  };
}

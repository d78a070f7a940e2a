import { CairnError } from '@cairn/contract';

/** Waits `ms` milliseconds, or throws the signal's reason as soon as it is aborted. Uses only what browsers have too. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Milliseconds before try `failures + 1`: doubles from 200 ms to `maxMs`, of which the upper half is random, so that the many
 * clients of a restarted server do not return together.
 */
export function retryDelay(failures: number, maxMs: number): number {
  const full = Math.min(maxMs, 200 * 2 ** Math.max(0, failures - 1));
  return full / 2 + (Math.random() * full) / 2;
}

const maxRetryAfterMs = 30_000;

/**
 * Milliseconds before the next try after `failures`: the server's Retry-After and up to half as much again, so that the clients
 * it refused together do not return together; otherwise {@link retryDelay}.
 */
export function delayAfter(error: unknown, failures: number, maxMs: number): number {
  const seconds = error instanceof CairnError ? error.details.retryAfterSeconds : undefined;
  if (typeof seconds !== 'number') return retryDelay(failures, maxMs);
  const asked = Math.min(maxRetryAfterMs, Math.max(0, seconds * 1000));
  return asked + (Math.random() * asked) / 2;
}

/** The caller's signal combined with a limit of `timeoutMs`. */
export function within(timeoutMs: number, signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(timeoutMs);
  return signal === undefined ? limit : AbortSignal.any([signal, limit]);
}

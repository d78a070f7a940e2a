import { setTimeout as delay } from 'node:timers/promises';

/**
 * A signal that is aborted when `signal` is, or after `ms` milliseconds (then with a `TimeoutError`): the limit of
 * every wait on a server, a child process or a lock.
 */
export function deadline(signal: AbortSignal | undefined, ms: number): AbortSignal {
  const timeout = AbortSignal.timeout(ms);
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}

/** Waits `ms` milliseconds. Rejects with the signal's reason as soon as it is aborted. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    // Node wraps the reason in its own AbortError; callers need to see why they were stopped.
    throw signal?.aborted ? signal.reason : error;
  }
}

/** Waits `ms` milliseconds, or until the signal is aborted, without throwing; for loops that check the signal themselves. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, signal).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
}

export type BackoffOptions = {
  /** How many tries have failed so far; 0 gives the first wait. */
  attempt: number;
  baseMs: number;
  maxMs: number;
  /** Uniform in [0, 1): the jitter. */
  random?: () => number;
};

/**
 * The wait before the next try, in milliseconds: doubles from `baseMs` up to `maxMs`, the upper half of it random, so
 * that the many clients of a restarted server do not return in step ("equal jitter").
 */
export function backoff({ attempt, baseMs, maxMs, random = Math.random }: BackoffOptions): number {
  const full = Math.min(maxMs, baseMs * 2 ** Math.max(0, attempt));
  return Math.round(full / 2 + random() * (full / 2));
}

/** The result of `work`, or the signal's reason as soon as it is aborted; `work` is then no longer awaited. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined);
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/**
 * Runs `work` for every item, `limit` at a time, and takes the next item only when one may begin. After the first failure, of
 * an item or of getting one, nothing new begins, and it is thrown when the running items have ended; `onFailure` may hasten that.
 */
export async function inParallel<T>(
  items: Iterator<T> | AsyncIterator<T>,
  limit: number,
  work: (item: T) => Promise<void>,
  onFailure?: () => void,
): Promise<void> {
  let failure: { error: unknown } | undefined;
  const workers = Array.from({ length: limit }, async () => {
    try {
      while (failure === undefined) {
        const next = await items.next();
        if (next.done || failure !== undefined) return;
        await work(next.value);
      }
    } catch (error) {
      if (failure !== undefined) return;
      failure = { error };
      onFailure?.();
    }
  });
  await Promise.all(workers);
  if (failure !== undefined) throw failure.error;
}

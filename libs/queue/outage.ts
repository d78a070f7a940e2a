import type { Logger } from '@cairn/runtime';

/** Tracks whether the queue's server responds; logs once when it is lost and once when it is back. */
export type Outage = {
  /** Records a call that failed for lack of a connection. */
  failed(error: Error): void;
  /** Take this before a call, and pass it to `recovered` if the call succeeds. */
  mark(): number;
  /**
   * Records a successful call. It proves nothing if it began before the last failure, or directly follows it: a server that is going down
   * still answers on old connections. Without a mark: a new connection was opened.
   */
  recovered(mark?: number): void;
  /** Number of failed calls since the last success. */
  failures(): number;
  /** Whether this error object was already recorded as part of an outage: every queue of a connection emits it again. */
  knows(error: Error): boolean;
};

const settleMs = 250;

export function createOutage(log: Logger, place: string, now: () => number = Date.now): Outage {
  const logged = new WeakSet<Error>();
  let failures = 0;
  let total = 0;
  let since = 0;
  let last = 0;
  return {
    failed(error) {
      if (logged.has(error)) return;
      logged.add(error);
      failures += 1;
      total += 1;
      last = now();
      if (failures > 1) return;
      since = now();
      log.warn({ err: error, place }, 'the queue is not responding; retrying');
    },
    mark: () => total,
    recovered(mark) {
      if (failures === 0) return;
      if (mark !== undefined && (mark !== total || now() - last < settleMs)) return;
      log.info({ place, failures, outageMs: now() - since }, 'the queue is responding again');
      failures = 0;
    },
    failures: () => failures,
    knows: (error) => logged.has(error),
  };
}

import type { Logger } from '@cairn/runtime';

/** Whether the queue's server answers; says so in the log once when it is lost and once when it is back. */
export type Outage = {
  /** A call failed for want of a connection. */
  seen(error: Error): void;
  /** To be taken before a call, and given to `over` if it succeeds. */
  mark(): number;
  /**
   * A call succeeded. It proves nothing if it began before the last failure, or follows it at once: a server that goes
   * down still answers on old connections. Without a mark: a new connection was made.
   */
  over(mark?: number): void;
  /** How many calls have failed since the last success. */
  failures(): number;
  /** Whether this very error has been told as part of an outage: it is emitted again by every queue of a connection. */
  knows(error: Error): boolean;
};

const settleMs = 250;

export function createOutage(log: Logger, place: string, now: () => number = Date.now): Outage {
  const told = new WeakSet<Error>();
  let failures = 0;
  let total = 0;
  let since = 0;
  let last = 0;
  return {
    seen(error) {
      if (told.has(error)) return;
      told.add(error);
      failures += 1;
      total += 1;
      last = now();
      if (failures > 1) return;
      since = now();
      log.warn({ err: error, place }, 'the queue does not answer; trying again until it does');
    },
    mark: () => total,
    over(mark) {
      if (failures === 0) return;
      if (mark !== undefined && (mark !== total || now() - last < settleMs)) return;
      log.info({ place, failures, outageMs: now() - since }, 'the queue answers again');
      failures = 0;
    },
    failures: () => failures,
    knows: (error) => told.has(error),
  };
}

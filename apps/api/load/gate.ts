import { CairnError } from '@cairn/contract';

export type GateOptions = {
  /** What passes the gate, for messages and metrics. */
  name: string;
  /** Most callers inside at the same time. */
  concurrency: number;
  /** Most callers that wait for a place. */
  waiting: number;
  /** A caller that would have to wait longer than this is refused at once; one that has waited this long is refused then. */
  waitMs: number;
  /** True while the program cannot keep up: then nobody may wait. */
  isBehind?: () => boolean;
  /** Called for every refusal. */
  onRefusal?: () => void;
};

export type Gate = {
  /**
   * Resolves with a function that leaves, which may be called more than once.
   *
   * @throws CairnError `rate_limited` when all places and the queue are full; the signal's reason when it is aborted meanwhile
   */
  enter(signal?: AbortSignal): Promise<() => void>;
  /** The number of callers inside and waiting. */
  load(): { inside: number; waiting: number };
};

/** The weight of the newest duration in the moving average. */
const newest = 0.1;

/**
 * Limits concurrency: admits that many callers, lets `waiting` more wait for a place, and refuses the rest at once, because an unbounded queue
 * answers everybody too late. The decision uses the expected wait, from recent durations, so the limit adapts to the machine. A caller that
 * finds a free place is always admitted.
 */
export function createGate({ name, concurrency, waiting, waitMs, isBehind = () => false, onRefusal }: GateOptions): Gate {
  const queue = new Set<{ admit: () => void }>();
  let inside = 0;
  let meanStayMs = 0;

  const expectedMs = () => ((queue.size + 1) * meanStayMs) / concurrency;

  function refused(): CairnError {
    onRefusal?.();
    const retryAfterSeconds = Math.max(1, Math.ceil(expectedMs() / 1000));
    return new CairnError('rate_limited', `The service is overloaded with ${name}; retry in ${retryAfterSeconds} s`, {
      details: { retryAfterSeconds },
    });
  }

  function take(): () => void {
    const begin = performance.now();
    let isInside = true;
    inside += 1;
    return () => {
      if (!isInside) return;
      isInside = false;
      inside -= 1;
      meanStayMs += (performance.now() - begin - meanStayMs) * newest;
      const [next] = queue;
      if (next !== undefined) next.admit();
    };
  }

  return {
    async enter(signal) {
      signal?.throwIfAborted();
      if (inside < concurrency) return take();
      if (queue.size >= waiting || isBehind() || expectedMs() > waitMs) throw refused();
      const { promise, resolve, reject } = Promise.withResolvers<() => void>();
      const after = (act: () => void) => () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        queue.delete(entry);
        act();
      };
      const entry = { admit: after(() => resolve(take())) };
      const onAbort = after(() => reject(signal?.reason));
      const timer = setTimeout(
        after(() => reject(refused())),
        waitMs,
      );
      queue.add(entry);
      signal?.addEventListener('abort', onAbort, { once: true });
      return promise;
    },
    load: () => ({ inside, waiting: queue.size }),
  };
}

import { CairnError } from '@cairn/contract';

export type GateOptions = {
  /** How messages and metrics call what passes. */
  name: string;
  /** How many may be inside at once. */
  room: number;
  /** How many may wait for a place. */
  waiting: number;
  /** Who would have to wait longer than this is refused at once; who has waited this long, then. */
  waitMs: number;
  /** True while the program cannot keep up: nobody is let wait then. */
  isBehind?: () => boolean;
  /** Told of every refusal. */
  onRefusal?: () => void;
};

export type Gate = {
  /**
   * Resolves with how to leave, which may be called more than once.
   *
   * @throws CairnError `rate_limited` when there is no room and no place to wait; the signal's reason when it is aborted meanwhile
   */
  enter(signal?: AbortSignal): Promise<() => void>;
  /** How many are inside, and how many wait. */
  load(): { inside: number; waiting: number };
};

/** The weight of the newest stay in the mean of all. */
const newest = 0.1;

/**
 * Lets so many in at once, so many more wait for a place, and refuses the rest at once: a queue without an end answers everybody
 * too late. What counts is the time that one more would wait, by how long the last ones stayed, so the limit follows the
 * machine. Who finds an empty place is always let in.
 */
export function createGate({ name, room, waiting, waitMs, isBehind = () => false, onRefusal }: GateOptions): Gate {
  const queue = new Set<{ admit: () => void }>();
  let inside = 0;
  let meanStayMs = 0;

  const expectedMs = () => ((queue.size + 1) * meanStayMs) / room;

  function refused(): CairnError {
    onRefusal?.();
    const retryAfterSeconds = Math.max(1, Math.ceil(expectedMs() / 1000));
    return new CairnError('rate_limited', `The service has more ${name} than it can answer in time; ask again in ${retryAfterSeconds} s`, {
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
      if (inside < room) return take();
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

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { CairnError } from '@cairn/contract';
import type { Closer, Metrics } from '@cairn/runtime';

/** Classes of requests. Each has its own gate, so that none can starve another. */
const loadClasses = ['read', 'command', 'watch', 'transfer', 'picture', 'search', 'attempt', 'hook', 'probe'] as const;
export type LoadClass = (typeof loadClasses)[number];

export type LoadLimits = {
  gates: Readonly<Record<LoadClass, Gate>>;
  /** Reads of streams and long polls: they wait as long as necessary, and leave connections to other requests. */
  watchReads: SharedReads;
  /** Token lookups and database health checks: short, often identical, and needed first. */
  firstReads: SharedReads;
};

/** Most long-lived places that one token may hold, so that others get the rest. */
export const maxPerToken: Partial<Record<LoadClass, number>> = { watch: 500, transfer: 8, search: 1 };

/** An event loop that is later than this is overloaded. */
const behindMs = 200;

/** The concurrency of each class in a replica with this many database connections. */
function boundsOf(
  connections: number,
): Record<LoadClass | 'watchReads' | 'firstReads', Pick<GateOptions, 'name' | 'concurrency' | 'waiting' | 'waitMs'>> {
  const share = (part: number) => Math.max(1, Math.floor(connections * part));
  return {
    read: { name: 'read requests', concurrency: share(3 / 16), waiting: 128, waitMs: 1_000 },
    command: { name: 'commands', concurrency: share(1 / 4), waiting: 64, waitMs: 500 },
    // They hold no database connection while they wait for changes or for bytes.
    watch: { name: 'streams and long polls', concurrency: 2_000, waiting: 0, waitMs: 0 },
    transfer: { name: 'file transfers', concurrency: 32, waiting: 0, waitMs: 0 },
    // Two are decoded at a time; a page shows a hundred, of which a browser asks for six at a time.
    picture: { name: 'pictures', concurrency: 8, waiting: 256, waitMs: 20_000 },
    search: { name: 'searches', concurrency: 1, waiting: 4, waitMs: 60_000 },
    // Agents retry for as long as necessary, so they may wait longer.
    attempt: { name: 'calls of attempts', concurrency: share(1 / 4), waiting: 1_024, waitMs: 5_000 },
    // Code hosts give up after ten seconds and do not try again.
    hook: { name: 'deliveries to triggers', concurrency: share(1 / 8), waiting: 256, waitMs: 5_000 },
    probe: { name: 'metrics scrapes', concurrency: 1, waiting: 4, waitMs: 5_000 },
    watchReads: { name: 'reads of streams', concurrency: share(1 / 8), waiting: 10_000, waitMs: 60_000 },
    firstReads: { name: 'token lookups', concurrency: share(1 / 8), waiting: 1_000, waitMs: 5_000 },
  };
}

/** The gates of one replica, shared by its servers. Together they leave a few connections for health checks and metrics. */
export function createLoadLimits({ connections, metrics }: { connections: number; metrics: Metrics }, closer: Closer): LoadLimits {
  const loop = watchLoopDelay();
  closer.add('the event loop monitor', () => loop.close());
  const refusals = metrics.counter({
    name: 'requests_refused_total',
    help: 'Requests that were refused because the service was overloaded with their class',
    labels: ['class'],
  });
  const bounds = boundsOf(connections);
  const isBehind = () => loop.delayMs() > behindMs;
  const gateOf = (one: LoadClass) => createGate({ ...bounds[one], isBehind, onRefusal: () => refusals.inc({ class: one }) });
  const gates = {
    read: gateOf('read'),
    command: gateOf('command'),
    watch: gateOf('watch'),
    transfer: gateOf('transfer'),
    picture: gateOf('picture'),
    search: gateOf('search'),
    attempt: createGate({ ...bounds.attempt, onRefusal: () => refusals.inc({ class: 'attempt' }) }),
    hook: createGate({ ...bounds.hook, onRefusal: () => refusals.inc({ class: 'hook' }) }),
    probe: gateOf('probe'),
  } satisfies Record<LoadClass, Gate>;
  metrics.gauge({
    name: 'requests_inside',
    help: 'Requests in progress, by class',
    labels: ['class'],
    collect: (gauge) => {
      for (const one of loadClasses) gauge.set({ class: one }, gates[one].load().inside);
    },
  });
  const { watchReads, firstReads } = bounds;
  return { gates, watchReads: createSharedReads(createGate(watchReads)), firstReads: createSharedReads(createGate(firstReads)) };
}

const everyMs = 250;
/** Resolution of the histogram: the inherent delay of a timer is part of every sample. */
const resolutionMs = 20;

/**
 * The mean delay of the event loop over the last quarter of a second, in milliseconds: the extra wait of everything that this program does.
 */
function watchLoopDelay(): { delayMs(): number; close(): void } {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  let delayMs = 0;
  histogram.enable();
  const timer = setInterval(() => {
    // Without a sample the loop was blocked for the whole time.
    delayMs = histogram.count === 0 ? everyMs : Math.max(0, histogram.mean / 1e6 - resolutionMs);
    histogram.reset();
  }, everyMs).unref();
  return {
    delayMs: () => delayMs,
    close() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}

/** Reads, by a key that identifies what is read. */
export type SharedReads = <T>(key: string, read: () => Promise<T>) => Promise<T>;

/**
 * Reads of many callers through one gate: a caller shares an identical read that is still waiting for its turn. A read that has started is
 * not shared, so nobody gets data from before the call; the more callers there are, the more is shared.
 */
export function createSharedReads(gate: Gate): SharedReads {
  const waiting = new Map<string, Promise<unknown>>();
  return <T>(key: string, read: () => Promise<T>): Promise<T> => {
    const shared = waiting.get(key);
    // The key identifies the read, and so the type of its result.
    if (shared !== undefined) return shared as Promise<T>;
    const answer = (async () => {
      let leave: () => void;
      try {
        leave = await gate.enter();
      } finally {
        waiting.delete(key);
      }
      try {
        return await read();
      } finally {
        leave();
      }
    })();
    waiting.set(key, answer);
    return answer;
  };
}

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

type Gate = {
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

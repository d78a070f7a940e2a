import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Closer, Metrics } from '@cairn/runtime';
import { createGate, type Gate, type GateOptions } from './gate.ts';

/** What shares a gate. Each has room of its own, so that none can keep another out. */
export const loadClasses = ['read', 'command', 'watch', 'transfer', 'attempt', 'probe'] as const;
export type LoadClass = (typeof loadClasses)[number];

export type LoadLimits = {
  gates: Readonly<Record<LoadClass, Gate>>;
  /** Reads of those who watch (streams, held-back answers): they wait as long as it takes, and leave connections to all others. */
  watchReads: SharedReads;
  /** Who calls, and whether the database answers: short, the same for many, and before all else. */
  firstReads: SharedReads;
};

/** Places of long duration that one token may hold: the others are for the others. */
export const maxPerToken: Partial<Record<LoadClass, number>> = { watch: 500, transfer: 8 };

/** A loop that is late by more than this does not keep up. */
const behindMs = 200;

/** How many of each class a replica with so many connections to its database works on at once. */
function roomsOf(
  connections: number,
): Record<LoadClass | 'watchReads' | 'firstReads', Pick<GateOptions, 'name' | 'room' | 'waiting' | 'waitMs'>> {
  const share = (part: number) => Math.max(1, Math.floor(connections * part));
  return {
    read: { name: 'questions', room: share(3 / 16), waiting: 128, waitMs: 1_000 },
    command: { name: 'commands', room: share(1 / 4), waiting: 64, waitMs: 500 },
    // They hold no connection while they wait for news or for bytes.
    watch: { name: 'streams and held-back answers', room: 2_000, waiting: 0, waitMs: 0 },
    transfer: { name: 'files on their way', room: 32, waiting: 0, waitMs: 0 },
    // Agents ask again for as long as it takes, so they wait longer.
    attempt: { name: 'calls of attempts', room: share(1 / 4), waiting: 1_024, waitMs: 5_000 },
    probe: { name: 'looks at its metrics', room: 1, waiting: 4, waitMs: 5_000 },
    watchReads: { name: 'reads of streams', room: share(1 / 8), waiting: 10_000, waitMs: 60_000 },
    firstReads: { name: 'tokens to look up', room: share(1 / 8), waiting: 1_000, waitMs: 5_000 },
  };
}

/** The gates of one replica, shared by both its servers. Together they leave a few connections to health checks and metrics. */
export function createLoadLimits({ connections, metrics }: { connections: number; metrics: Metrics }, closer: Closer): LoadLimits {
  const loop = watchLoopDelay();
  closer.add('the watch over the event loop', () => loop.close());
  const refusals = metrics.counter({
    name: 'requests_refused_total',
    help: 'Requests that were refused because the service had more of their class than it could answer in time',
    labels: ['class'],
  });
  const rooms = roomsOf(connections);
  const isBehind = () => loop.delayMs() > behindMs;
  const gateOf = (one: LoadClass) => createGate({ ...rooms[one], isBehind, onRefusal: () => refusals.inc({ class: one }) });
  const gates = {
    read: gateOf('read'),
    command: gateOf('command'),
    watch: gateOf('watch'),
    transfer: gateOf('transfer'),
    attempt: createGate({ ...rooms.attempt, onRefusal: () => refusals.inc({ class: 'attempt' }) }),
    probe: gateOf('probe'),
  } satisfies Record<LoadClass, Gate>;
  metrics.gauge({
    name: 'requests_inside',
    help: 'Requests that are worked on, by class',
    labels: ['class'],
    collect: (gauge) => {
      for (const one of loadClasses) gauge.set({ class: one }, gates[one].load().inside);
    },
  });
  const { watchReads, firstReads } = rooms;
  return { gates, watchReads: createSharedReads(createGate(watchReads)), firstReads: createSharedReads(createGate(firstReads)) };
}

const everyMs = 250;
/** Of the histogram: what a timer is late by itself is part of every sample. */
const resolutionMs = 20;

/**
 * How late the event loop is, in milliseconds, as a mean over the last quarter of a second: what everything that this
 * program does waits longer.
 */
function watchLoopDelay(): { delayMs(): number; close(): void } {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  let delayMs = 0;
  histogram.enable();
  const timer = setInterval(() => {
    // Without a sample in all that time the loop stood still for all of it.
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

/** Reads by a key that says what is read. */
export type SharedReads = <T>(key: string, read: () => Promise<T>) => Promise<T>;

/**
 * Reads of many callers through one gate: whoever asks for what waits for its turn already gets that answer. A read that has
 * begun is not shared, so nobody is given what was true before he asked; the more callers there are, the more is shared.
 */
export function createSharedReads(gate: Gate): SharedReads {
  const waiting = new Map<string, Promise<unknown>>();
  return <T>(key: string, read: () => Promise<T>): Promise<T> => {
    const shared = waiting.get(key);
    // The key names the read, and with it what it answers.
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

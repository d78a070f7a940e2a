import { type Hint, hint as hintSchema, idOf, liveRunStates } from '@cairn/contract';
import { hintChannel, listen, type PrismaClient, runChannel } from '@cairn/db';
import type { Logger } from '@cairn/runtime';
import { z } from 'zod';

export type FeedOptions = {
  prisma: PrismaClient;
  /** Address of the database itself: LISTEN does not work through a pooler. */
  databaseUrl: string;
  log: Logger;
  /** How often to poll the tables, for changes without a notification. */
  pollMs?: number;
  /** At most one hint of each kind per interval. */
  hintMs?: number;
};

export type FeedListener = {
  topics: ReadonlySet<string>;
  /** The run has events up to `seq`; null when that is unknown: read the table. */
  onRun(runId: string, seq: number | null): void;
  onHint(hint: Hint): void;
};

export type EventFeed = {
  /** Returns a function that unsubscribes. */
  subscribe(listener: FeedListener): () => void;
  /** Starts watching for changes of a step's logs or of its run; `changed` resolves with the first, or after `limitMs`. */
  watchStep(runId: string, stepId: string): { changed(limitMs: number, signal: AbortSignal): Promise<void>; end(): void };
  close(): void;
};

const runNotification = z.object({ runId: idOf('run'), seq: z.number().int() });

/**
 * Changes, as this replica learns of them: one LISTEN connection for all its streams, whichever replica or controller committed.
 * Notifications are lost while that connection is broken, so it polls the tables after each connect and every few seconds.
 */
export function createEventFeed({ prisma, databaseUrl, log, pollMs = 5_000, hintMs = 1_000 }: FeedOptions): EventFeed {
  const listeners = new Set<FeedListener>();
  const watchers = new Set<(runId: string, stepId: string | null) => void>();
  const closing = new AbortController();
  const coalescer = createHintCoalescer(hintMs, (hint) => {
    for (const listener of listeners) if (listener.topics.has(hint.topic)) listener.onHint(hint);
  });
  let lastSeen = '';

  function notifyRun(runId: string, seq: number | null): void {
    for (const listener of listeners) if (listener.topics.has(`run:${runId}`)) listener.onRun(runId, seq);
    for (const watcher of watchers) watcher(runId, null);
  }

  /** A run's change is also sent to subscribers of the lists and the fleet. */
  function notifyLists(runId?: string): void {
    coalescer.push({ topic: 'runs', what: 'run', ...(runId === undefined ? {} : { runId }) });
    coalescer.push({ topic: 'fleet', what: 'fleet' });
  }

  function onNotification(channel: string, payload: string): void {
    const value = jsonOrNull(payload);
    const run = channel === runChannel ? runNotification.safeParse(value) : null;
    const hint = channel === hintChannel ? hintSchema.safeParse(value) : null;
    if (run?.success) {
      notifyRun(run.data.runId, run.data.seq);
      notifyLists(run.data.runId);
    } else if (hint?.success) notifyHint(hint.data);
    else log.warn({ channel, payload }, 'invalid notification');
  }

  function notifyHint(hint: Hint): void {
    const { runId, stepId, what } = hint;
    if (runId !== undefined && what === 'logs') for (const watcher of watchers) watcher(runId, stepId ?? null);
    coalescer.push(hint);
    // A list of runs shows their progress: one hint for all of them, to fetch its page again.
    if (runId !== undefined && (what === 'progress' || what === 'shards')) coalescer.push({ topic: 'runs', what: 'progress', runId });
  }

  /** Notifications sent without a connection are lost: every subscriber reads again. */
  function onConnect(): void {
    for (const listener of listeners) for (const runId of runsOf(listener)) listener.onRun(runId, null);
    for (const watcher of [...watchers]) watcher('', null);
    notifyLists();
  }

  async function poll(): Promise<void> {
    if (listeners.size === 0) return;
    const subscribed = [...new Set([...listeners].flatMap(runsOf))];
    const rows =
      subscribed.length === 0 ? [] : await prisma.run.findMany({ where: { id: { in: subscribed } }, select: { id: true, seq: true } });
    for (const { id, seq } of rows) notifyRun(id, seq);
    const live = await prisma.run.aggregate({
      where: { state: { in: liveRunStates } },
      _count: true,
      _sum: { seq: true },
    });
    // Ending a run changes the number of live runs; everything else changes their events.
    const seen = `${live._count} ${live._sum.seq}`;
    if (lastSeen !== '' && seen !== lastSeen) notifyLists();
    lastSeen = seen;
  }

  listen({
    url: databaseUrl,
    channels: [runChannel, hintChannel],
    onNotification,
    onConnect,
    onError: (err) => log.warn({ err }, 'the LISTEN connection broke; reconnecting'),
    signal: closing.signal,
  });
  const timer = setInterval(() => void poll().catch((err: unknown) => log.warn({ err }, 'could not poll for changes')), pollMs);

  return {
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    watchStep(runId, stepId) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const watcher = (changedRun: string, changedStep: string | null) => {
        if (changedRun === '' || (changedRun === runId && (changedStep === null || changedStep === stepId))) resolve();
      };
      watchers.add(watcher);
      return {
        changed: (limitMs, signal) => firstOf(promise, limitMs, signal),
        end: () => void watchers.delete(watcher),
      };
    },
    close() {
      clearInterval(timer);
      coalescer.close();
      closing.abort();
      for (const watcher of [...watchers]) watcher('', null);
    },
  };
}

const runsOf = (listener: FeedListener): string[] =>
  [...listener.topics].flatMap((topic) => (topic.startsWith('run:') ? [topic.slice(4)] : []));

/** Resolves when `promise` does, after the time or when the signal aborts, whichever comes first. */
async function firstOf(promise: Promise<void>, limitMs: number, signal: AbortSignal): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limitMs);
  signal.addEventListener('abort', () => resolve(), { once: true });
  if (signal.aborted) resolve();
  try {
    await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Forwards at most one hint of each kind per interval: the first at once, later ones within the interval merged into one at its end. A kind
 * is a step's progress, metrics, logs or shards; the topics `runs` and `fleet` are one kind each, so that fifty changed runs per second
 * become one hint to fetch the list, which then does not name a run.
 */
export function createHintCoalescer(intervalMs: number, emit: (hint: Hint) => void) {
  const waiting = new Map<string, { later: Hint | null; timer: NodeJS.Timeout }>();

  function start(key: string): void {
    const timer = setTimeout(() => {
      const later = waiting.get(key)?.later ?? null;
      waiting.delete(key);
      if (later === null) return;
      start(key);
      emit(later);
    }, intervalMs);
    waiting.set(key, { later: null, timer });
  }

  return {
    push(hint: Hint): void {
      const key = [hint.topic, hint.stepId ?? '', hint.what].join(' ');
      const entry = waiting.get(key);
      if (entry === undefined) {
        start(key);
        emit(hint);
      } else entry.later = entry.later === null ? hint : merge(entry.later, hint);
    },
    close(): void {
      for (const { timer } of waiting.values()) clearTimeout(timer);
      waiting.clear();
    },
  };
}

function merge(a: Hint, b: Hint): Hint {
  if (a.runId === b.runId) return b;
  return { topic: b.topic, what: b.what };
}

import type { Hint, RunEvent } from '@cairn/contract';
import { type PrismaClient, readEvents } from '@cairn/db';
import { encodePositions, type Positions } from './cursor.ts';
import type { EventFeed } from './feed.ts';

export type StreamOptions = {
  prisma: PrismaClient;
  feed: EventFeed;
  topics: ReadonlySet<string>;
  /** Where each `run:<id>` topic goes on; one that is not named begins with the run's first event. */
  positions: Positions;
  /** Topics for which the client is told to fetch everything again. */
  resets: readonly string[];
  heartbeatMs: number;
  /** Asked with every heartbeat; false ends the stream: the token was revoked. */
  isAllowed(): Promise<boolean>;
  /** The client has taken nothing for two heartbeats. */
  onStall(): void;
  signal: AbortSignal;
};

/** Events of one run that are read at once. */
const batch = 200;

/**
 * The messages of one event stream as text. It is pulled: events are read from the table as fast as the client takes them, and
 * hints of one kind that wait are one hint, so a slow client costs no memory; one that takes nothing at all is cut off.
 * Events of a run come in order, without gaps, and each message's id says where every run of the stream stands.
 */
export async function* eventStream(options: StreamOptions): AsyncGenerator<string, void, void> {
  const { prisma, feed, topics, signal } = options;
  const runs = [...topics].filter((topic) => topic.startsWith('run:')).map((topic) => topic.slice(4));
  const positions = new Map(runs.map((runId) => [runId, options.positions.get(runId) ?? 0]));
  const toRead = new Set(runs);
  const hints = new Map<string, Hint>();
  let isHeartbeatDue = false;
  let wake = Promise.withResolvers<void>();

  // Listening begins before the first look at the table: nothing that is committed in between is missed.
  const unsubscribe = feed.subscribe({
    topics,
    onRun(runId, seq) {
      if (seq !== null && seq <= (positions.get(runId) ?? 0)) return;
      toRead.add(runId);
      wake.resolve();
    },
    onHint(hint) {
      hints.set([hint.topic, hint.runId ?? '', hint.stepId ?? '', hint.what].join(' '), hint);
      wake.resolve();
    },
  });
  const heartbeat = setInterval(() => {
    if (isHeartbeatDue) options.onStall();
    isHeartbeatDue = true;
    wake.resolve();
  }, options.heartbeatMs);
  signal.addEventListener('abort', () => wake.resolve(), { once: true });

  try {
    yield 'retry: 1000\n\n';
    for (const topic of options.resets) yield frame('reset', { topic }, positions);
    while (!signal.aborted) {
      wake = Promise.withResolvers();
      for (const runId of toRead) {
        toRead.delete(runId);
        let events: RunEvent[];
        do {
          events = await readEvents(prisma, { runId, after: positions.get(runId) ?? 0, limit: batch });
          for (const event of events) {
            positions.set(runId, event.seq);
            yield frame('event', event, positions);
          }
        } while (events.length === batch);
      }
      for (const [key, hint] of hints) {
        hints.delete(key);
        yield frame('hint', hint, positions);
      }
      if (isHeartbeatDue) {
        isHeartbeatDue = false;
        if (!(await options.isAllowed())) return;
        yield ': heartbeat\n\n';
      }
      if (toRead.size === 0 && hints.size === 0 && !isHeartbeatDue && !signal.aborted) await wake.promise;
    }
  } finally {
    clearInterval(heartbeat);
    unsubscribe();
  }
}

/** One message of text/event-stream (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
function frame(event: 'event' | 'hint' | 'reset', data: unknown, positions: Positions): string {
  const id = positions.size === 0 ? '' : `id: ${encodePositions(positions)}\n`;
  return `${id}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

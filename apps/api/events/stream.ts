import type { Hint } from '@cairn/contract';
import { type PrismaClient, readEvents } from '@cairn/db';
import type { SharedReads } from '../load/load-limits.ts';
import type { EventFeed } from './feed.ts';

export type StreamOptions = {
  prisma: PrismaClient;
  feed: EventFeed;
  /** Reads the history: streams at the same position share a read. */
  reads: SharedReads;
  topics: ReadonlySet<string>;
  /** Where each `run:<id>` topic resumes; others start with the run's first event. */
  positions: Positions;
  /** Topics for which the client gets a `reset`. */
  resets: readonly string[];
  /** Where the lists of runs are now. */
  runsPosition(): Promise<string>;
  heartbeatMs: number;
  /** Checked with every heartbeat; false ends the stream, because the token was revoked. */
  isAllowed(): Promise<boolean>;
  /** Called when the client has read nothing for two heartbeats. */
  onStall(): void;
  signal: AbortSignal;
};

/** Events of one run that are read at a time, before the turn of another run and another stream. */
const pageSize = 100;
/** Messages are sent in chunks of about this size. */
const pieceCharacters = 65_536;

/**
 * The messages of one event stream as text. The client pulls: events are read from the table as fast as it reads, and pending hints of one
 * kind are merged, so a slow client costs no memory; one that reads nothing is disconnected. Events of a run are in order, without gaps,
 * and each message's id holds the position of every run of the stream.
 */
export async function* eventStream(options: StreamOptions): AsyncGenerator<string, void, void> {
  const { prisma, feed, reads, topics, signal } = options;
  const runs = [...topics].filter((topic) => topic.startsWith('run:')).map((topic) => topic.slice(4));
  const positions = new Map(runs.map((runId) => [runId, options.positions.get(runId) ?? 0]));
  const toRead = new Set(runs);
  const hints = new Map<string, Hint>();
  let isHeartbeatDue = false;
  /** Heartbeats since the client last read something offered; null while nothing is offered, since a slow server is not its fault. */
  let offeredFor: number | null = null;
  let wake = Promise.withResolvers<void>();

  // Subscribe before the first read of the table, so that nothing committed in between is missed.
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
    if (offeredFor !== null) offeredFor += 1;
    if (offeredFor === 2) options.onStall();
    isHeartbeatDue = true;
    wake.resolve();
  }, options.heartbeatMs);
  signal.addEventListener('abort', () => wake.resolve(), { once: true });

  /** Yields a chunk, and tracks how long the client takes to read it. */
  function* offer(piece: string): Generator<string, void, void> {
    offeredFor = 0;
    yield piece;
    offeredFor = null;
  }

  /** The next events of a run, in chunks. */
  async function* nextPage(runId: string): AsyncGenerator<string, void, void> {
    const after = positions.get(runId) ?? 0;
    const page = await reads(`events ${runId} ${after}`, async () => {
      const events = await readEvents(prisma, { runId, after, limit: pageSize });
      return events.map((event) => ({ seq: event.seq, json: JSON.stringify(event) }));
    });
    let piece = '';
    for (const { seq, json } of page) {
      positions.set(runId, seq);
      piece += frame('event', json, positions);
      if (piece.length < pieceCharacters) continue;
      yield* offer(piece);
      piece = '';
    }
    if (piece !== '') yield* offer(piece);
    if (page.length === pageSize) toRead.add(runId);
  }

  try {
    yield 'retry: 1000\n\n';
    for (const topic of options.resets) {
      // Read after the subscription: a later change is announced by a hint.
      const place = topic === 'runs' ? { position: await options.runsPosition() } : {};
      yield frame('reset', JSON.stringify({ topic, ...place }), positions);
    }
    while (!signal.aborted) {
      wake = Promise.withResolvers();
      const [runId] = toRead;
      if (runId !== undefined) {
        toRead.delete(runId);
        yield* nextPage(runId);
      }
      for (const [key, hint] of hints) {
        hints.delete(key);
        yield* offer(frame('hint', JSON.stringify(hint), positions));
      }
      if (isHeartbeatDue) {
        isHeartbeatDue = false;
        if (!(await options.isAllowed())) return;
        yield* offer(': heartbeat\n\n');
      }
      if (toRead.size === 0 && hints.size === 0 && !isHeartbeatDue && !signal.aborted) await wake.promise;
    }
  } finally {
    clearInterval(heartbeat);
    unsubscribe();
  }
}

/** One message of text/event-stream (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
function frame(event: 'event' | 'hint' | 'reset', json: string, positions: Positions): string {
  const id = positions.size === 0 ? '' : `id: ${encodePositions(positions)}\n`;
  return `${id}event: ${event}\ndata: ${json}\n\n`;
}

/**
 * The position of a stream: the sequence number of the newest event sent, by run. As text it is the id of every message,
 * `run_x.12~run_y.40`, and is sent back as Last-Event-ID.
 */
export type Positions = ReadonlyMap<string, number>;

function encodePositions(positions: Positions): string {
  return [...positions].map(([runId, seq]) => `${runId}.${seq}`).join('~');
}

/** The positions in a Last-Event-ID; anything invalid is ignored, so that a foreign id counts as no position. */
export function decodePositions(text: string): Positions {
  const positions = new Map<string, number>();
  for (const part of text.split('~')) {
    const match = /^(run_[0-9a-hjkmnp-tv-z]{26})\.(\d{1,9})$/.exec(part);
    if (match?.[1] !== undefined && match[2] !== undefined) positions.set(match[1], Number(match[2]));
  }
  return positions;
}

import { type AttemptView, isEndedStep, type LogPage, type LogStream, type StepState } from '@cairn/contract';
import type { RequestOptions } from './request.ts';
import { wait } from './wait.ts';

type ReadLog = (
  attemptId: string,
  query: { stream: LogStream; offset: number; waitSeconds: number },
  options: RequestOptions,
) => Promise<LogPage>;

export type FollowLogsOptions = {
  stream: LogStream;
  /** Byte offset to start at. */
  offset?: number | undefined;
  /** How long the server holds the answer when there is nothing new; 15 s by default. */
  waitSeconds?: number | undefined;
  signal?: AbortSignal | undefined;
};

/**
 * The log of one attempt and stream from an offset, page by page, until the attempt is over and the log was read to its end. Every
 * byte comes once: each page is requested by the offset at which the last one ended.
 */
export async function* followLogs(readLog: ReadLog, attemptId: string, options: FollowLogsOptions): AsyncGenerator<LogPage, void, void> {
  const { stream, signal, waitSeconds = 15 } = options;
  let offset = options.offset ?? 0;
  for (;;) {
    const page = await readLog(attemptId, { stream, offset, waitSeconds }, { signal });
    if (page.text !== '') yield page;
    if (page.end) return;
    // A server that answers at once without new text must not be polled in a tight loop.
    if (page.nextOffset === offset) await wait(250, signal);
    offset = page.nextOffset;
  }
}

type Channel<T> = {
  /** Resolves when there is room for more: a fast writer waits for its reader. */
  push: (item: T) => Promise<void>;
  end: () => void;
  fail: (error: unknown) => void;
  items: () => AsyncGenerator<T, void, void>;
};

type Closed = { error: unknown } | 'ended';

/** A bounded queue between several writers and one reader. After `end` or `fail` writes are dropped. */
function createChannel<T>(room: number): Channel<T> {
  const queue: T[] = [];
  const state: { closed: Closed | null } = { closed: null };
  let wakeReader: (() => void) | null = null;
  const waitingWriters: (() => void)[] = [];

  const close = (how: Closed): void => {
    state.closed ??= how;
    wakeReader?.();
    for (const wake of waitingWriters.splice(0)) wake();
  };

  return {
    async push(item) {
      if (state.closed !== null) return;
      queue.push(item);
      wakeReader?.();
      while (queue.length > room && state.closed === null) await new Promise<void>((resolve) => waitingWriters.push(resolve));
    },
    end: () => close('ended'),
    fail: (error) => close({ error }),
    async *items() {
      for (;;) {
        const item = queue.shift();
        if (item !== undefined) {
          for (const wake of waitingWriters.splice(0)) wake();
          yield item;
          continue;
        }
        if (state.closed === 'ended') return;
        if (state.closed !== null) throw state.closed.error;
        await new Promise<void>((resolve) => {
          wakeReader = resolve;
        });
        wakeReader = null;
      }
    },
  };
}

/** A piece of a step's log: whole bytes of one stream of one attempt, in order within it. */
export type StepLogPiece = { attemptId: string; ordinal: number; stream: LogStream; offset: number; text: string };

export type FollowStepLogsOptions = {
  runId: string;
  step: string;
  streams: readonly LogStream[];
  /** Only the attempt with this number, counted from 1; every attempt without it. */
  ordinal?: number | undefined;
  /** Continues until the step ends; otherwise returns the log so far. */
  follow: boolean;
  signal?: AbortSignal | undefined;
  /** How often to poll for new attempts; 1 s by default. */
  pollMs?: number | undefined;
};

/** The calls of the client that following needs. */
type StepLogCalls = {
  getStep: (runId: string, name: string, options: RequestOptions) => Promise<{ state: StepState }>;
  listAttempts: (runId: string, name: string, options: RequestOptions) => Promise<{ items: AttemptView[] }>;
  readLog: ReadLog;
};

/**
 * The log of a step over all its attempts. Attempts that are over come one after another; live ones (an extraction
 * has several) come as they write. No byte comes twice. Ends when the step has ended and its logs were read to the end.
 */
export async function* followStepLogs(calls: StepLogCalls, options: FollowStepLogsOptions): AsyncGenerator<StepLogPiece, void, void> {
  const mine = new AbortController();
  const signal = options.signal === undefined ? mine.signal : AbortSignal.any([options.signal, mine.signal]);
  const channel = createChannel<StepLogPiece>(16);
  const work = options.follow ? followAll(calls, options, signal, channel.push, mine) : readAll(calls, options, signal, channel.push);
  const all = work.then(channel.end, channel.fail);
  try {
    yield* channel.items();
  } finally {
    mine.abort();
    channel.fail(signal.reason);
    await all;
  }
}

type Push = (piece: StepLogPiece) => Promise<void>;

async function readAll(calls: StepLogCalls, options: FollowStepLogsOptions, signal: AbortSignal, push: Push): Promise<void> {
  for (const attempt of await chosenAttempts(calls, options, signal)) {
    for (const stream of options.streams) {
      for (let offset = 0; ; ) {
        const page = await calls.readLog(attempt.id, { stream, offset, waitSeconds: 0 }, { signal });
        if (page.text !== '') await push(pieceOf(attempt, page));
        if (page.end || page.nextOffset === offset) break;
        offset = page.nextOffset;
      }
    }
  }
}

async function followAll(
  calls: StepLogCalls,
  options: FollowStepLogsOptions,
  signal: AbortSignal,
  push: Push,
  whole: AbortController,
): Promise<void> {
  const followed = new Set<string>();
  const living = new Set<Promise<void>>();
  const follow = async (attempt: AttemptView, stream: LogStream): Promise<void> => {
    for await (const page of followLogs(calls.readLog, attempt.id, { stream, signal })) await push(pieceOf(attempt, page));
  };
  try {
    for (;;) {
      // The step first: when it is over, the list of attempts fetched after it is complete.
      const step = await calls.getStep(options.runId, options.step, { signal });
      const attempts = (await chosenAttempts(calls, options, signal)).filter((attempt) => !followed.has(attempt.id));
      for (const attempt of attempts) {
        followed.add(attempt.id);
        if (attempt.endedAt !== null) {
          for (const stream of options.streams) await follow(attempt, stream);
          continue;
        }
        for (const stream of options.streams) {
          const task: Promise<void> = follow(attempt, stream)
            // One failing stream ends the others; its error is the reason.
            .catch((error: unknown) => whole.abort(error))
            .finally(() => living.delete(task));
          living.add(task);
        }
      }
      const over = isEndedStep(step.state) || (options.ordinal !== undefined && followed.size > 0);
      if (over) {
        await Promise.all(living);
        signal.throwIfAborted();
        return;
      }
      await wait(options.pollMs ?? 1000, signal);
    }
  } finally {
    if (signal.aborted) await Promise.all(living);
  }
}

async function chosenAttempts(calls: StepLogCalls, options: FollowStepLogsOptions, signal: AbortSignal): Promise<AttemptView[]> {
  const { items } = await calls.listAttempts(options.runId, options.step, { signal });
  const chosen = options.ordinal === undefined ? items : items.filter((attempt) => attempt.ordinal === options.ordinal);
  return chosen.toSorted((a, b) => a.ordinal - b.ordinal);
}

const pieceOf = (attempt: AttemptView, page: LogPage): StepLogPiece => ({
  attemptId: attempt.id,
  ordinal: attempt.ordinal,
  stream: page.stream,
  offset: page.offset,
  text: page.text,
});

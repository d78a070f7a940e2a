import type { LogPage, LogStream } from '@cairn/contract';
import type { RequestOptions } from './request.ts';
import { wait } from './wait.ts';

export type ReadLog = (
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
export function createChannel<T>(room: number): Channel<T> {
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

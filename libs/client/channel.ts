export type Channel<T> = {
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

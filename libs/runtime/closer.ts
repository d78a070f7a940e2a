/** Ends one part of a program. `signal` is aborted when the time for closing is up. */
export type Close = (signal: AbortSignal) => Promise<unknown> | unknown;

export type Closer = {
  /** Registers how to end `name`; the last one added is closed first. Throws once closing has begun. */
  add(name: string, close: Close): void;
  /**
   * Ends everything in reverse order, one after another, and continues after a failure. Rejects with an
   * AggregateError of the failures and of the parts that did not end in time. A second call returns the first one's promise.
   */
  close(limitMs?: number): Promise<void>;
};

/** Collects the parts that a program creates, so that they can be ended in reverse order. */
export function createCloser(): Closer {
  const parts: { name: string; close: Close }[] = [];
  let closing: Promise<void> | undefined;

  async function closeAll(limitMs: number): Promise<void> {
    const signal = AbortSignal.timeout(limitMs);
    const errors: Error[] = [];
    for (const { name, close } of parts.reverse()) {
      try {
        await within(
          signal,
          Promise.resolve().then(() => close(signal)),
        );
      } catch (cause) {
        const why = signal.aborted ? `was not closed within ${limitMs} ms` : `could not be closed: ${messageOf(cause)}`;
        errors.push(new Error(`${name} ${why}`, { cause }));
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, errors.map((error) => error.message).join('; '));
  }

  return {
    add(name, close) {
      if (closing) throw new Error(`${name} was created while the program was closing`);
      parts.push({ name, close });
    },
    close(limitMs = 10_000) {
      closing ??= closeAll(limitMs);
      return closing;
    },
  };
}

function within(signal: AbortSignal, work: Promise<unknown>): Promise<unknown> {
  // The timer of AbortSignal.timeout does not keep a process alive; closing must end even when nothing else is left to do.
  const alive = setInterval(() => undefined, 60_000);
  let stop = () => {};
  const limit = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    // Parts that come after the limit are still asked to end, but not waited for.
    if (signal.aborted) setImmediate(stop);
    else signal.addEventListener('abort', stop, { once: true });
  });
  return Promise.race([work, limit]).finally(() => {
    clearInterval(alive);
    signal.removeEventListener('abort', stop);
  });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

import { CairnError, configurationExit } from '@cairn/contract';

/** How a program exits. A second signal ends it at once with 128 + the signal's number. */
export const exitCodes = {
  /** It did its work, or was asked to stop and closed cleanly. */
  success: 0,
  /** It failed, or could not close its parts in time. */
  failure: 1,
  /** Its configuration is wrong; restarting it unchanged will not help. */
  invalidConfiguration: configurationExit,
} as const;

export type MainContext = {
  closer: Closer;
  /** Aborted when the program is asked to stop. */
  signal: AbortSignal;
};

type Main = {
  /** The name of the program, for its messages. */
  name: string;
  /** Show stacks and causes of expected errors too. */
  debug?: boolean;
  /** How long closing may take, in milliseconds. */
  closeLimitMs?: number;
  /**
   * Creates and starts the program, adding to `closer` how each part ends. A server returns nothing and runs until it is
   * asked to stop; a command returns `finished` with its exit code.
   */
  start(context: MainContext): Promise<{ finished: Promise<number> } | undefined>;
};

/** SIGHUP reaches a program when its terminal closes: it saves its work then too. */
const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/**
 * Runs a program's `main.ts`: starts it, stops it on SIGTERM, SIGINT and SIGHUP (the last part created first, within the limit),
 * prints errors for people, and ends the process with one of {@link exitCodes}. Never returns.
 */
export async function runMain({ name, debug = false, closeLimitMs = 10_000, start }: Main): Promise<never> {
  const closer = createCloser();
  const stop = new AbortController();
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  failed.catch(() => undefined);

  const stopping = new Promise<number>((resolve) => {
    for (const [signal, number] of Object.entries(signalNumbers)) {
      process.on(signal, () => {
        if (stop.signal.aborted) process.exit(128 + number);
        stop.abort(new Error(`${name} was asked to stop (${signal})`));
        resolve(exitCodes.success);
      });
    }
  });
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);

  let code: number;
  try {
    const running = start({ closer, signal: stop.signal }).then((started) => started?.finished ?? stopping);
    code = await Promise.race([running, stopping, failed]);
  } catch (error) {
    // A start that was stopped halfway fails with the reason of the stop: that is not a failure.
    code = stop.signal.aborted && error === stop.signal.reason ? exitCodes.success : printError(error, debug);
  }
  stop.abort(new Error(`${name} ends`));
  try {
    await Promise.race([closer.close(closeLimitMs), failed]);
  } catch (error) {
    code = Math.max(code, printError(error, debug));
  }
  process.exit(code);
}

/** Prints an error to standard error and returns the exit code for it. */
function printError(error: unknown, debug: boolean): number {
  const known = toCairnError(error);
  if (known) {
    const lines = [`error: ${known.message}`, `  ${known.row.remedy}`];
    if (debug) lines.push(inspectError(known));
    process.stderr.write(`${lines.join('\n')}\n`);
    return known.code === 'invalid_configuration' ? exitCodes.invalidConfiguration : exitCodes.failure;
  }
  // Not an expected error: a bug in the program, for which only the stack helps.
  process.stderr.write(`error: ${inspectError(error)}\n`);
  return exitCodes.failure;
}

function inspectError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\n  caused by: ${inspectError(error.cause)}`;
  return `${error.stack ?? error.message}${cause}`;
}

/**
 * The CairnError for an error: itself, or `port_in_use` for an EADDRINUSE of `listen`; undefined for an
 * unexpected error.
 */
export function toCairnError(error: unknown): CairnError | undefined {
  if (error instanceof CairnError) return error;
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    const host = 'address' in error ? String(error.address) : 'the address';
    const port = 'port' in error ? String(error.port) : '?';
    const shown = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    return new CairnError('port_in_use', `Another program listens on ${shown}.`, { cause: error, details: { host, port } });
  }
  return undefined;
}

/** Ends one part of a program. `signal` is aborted when the time for closing is up. */
type Close = (signal: AbortSignal) => Promise<unknown> | unknown;

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

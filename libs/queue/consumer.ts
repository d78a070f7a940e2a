import type { Logger } from '@cairn/runtime';
import { type Job, WaitingError, Worker } from 'bullmq';
import { parseEntry, type QueueConnection, type QueueEntry, type QueueName } from './catalogue.ts';

/**
 * Handles one entry. `signal` is aborted when the consumer is closing or the entry was given to another consumer. A handler that throws
 * ends the entry, since the row decides about retries; except while closing, when the entry is returned to the queue.
 */
export type QueueHandler<Name extends QueueName> = (entry: QueueEntry<Name>, signal: AbortSignal) => Promise<void>;

export type ConsumerOptions<Name extends QueueName> = {
  /** Entries handled in parallel in this process. */
  concurrency: number;
  handler: QueueHandler<Name>;
  /**
   * An entry goes to another consumer when its consumer was killed, or its event loop blocked, for this long; detection takes up to about
   * half as long again.
   */
  lockMs?: number;
};

export type Consumer = {
  waitUntilReady(): Promise<void>;
  /** Stops taking entries, aborts the handlers' signals, and waits for them up to the limit. */
  close(limitMs: number): Promise<void>;
};

type Consumed<Name extends QueueName> = ConsumerOptions<Name> & { name: Name; prefix: string; connection: QueueConnection; log: Logger };

export function startConsumer<Name extends QueueName>(consumed: Consumed<Name>): Consumer {
  const { name, concurrency, handler, lockMs = 10_000, prefix, connection, log } = consumed;
  let isClosing = false;

  // BullMQ creates an abort signal only for a processor that declares three parameters.
  async function process(job: Job<unknown>, token: string | undefined, signal: AbortSignal | undefined): Promise<void> {
    const parsed = tryParse(name, job.data);
    if ('error' in parsed) {
      log.error({ queue: name, jobId: job.id, err: parsed.error }, 'dropped an invalid queue entry');
      return;
    }
    try {
      await handler(parsed.entry, withErrorReason(signal));
    } catch (error) {
      if (isClosing && token !== undefined) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      log.error({ queue: name, jobId: job.id, err: error }, 'the handler of a queue entry failed');
      throw error instanceof Error ? error : new Error(String(error));
    }
  }

  const worker = new Worker(
    name,
    process,
    {
      connection: {},
      prefix,
      concurrency,
      lockDuration: lockMs,
      stalledInterval: lockMs / 2,
      // A killed consumer is not the entry's fault: it is delivered again without a limit.
      maxStalledCount: 1_000_000,
      drainDelay: 5,
      runRetryDelay: 250,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
    },
    connection.consumer,
  );
  worker.on('error', (error) => {
    if (!connection.isOutage(error)) log.warn({ queue: name, err: error }, 'a queue operation failed');
  });
  worker.on('lockRenewalFailed', (jobIds) => {
    for (const jobId of jobIds) worker.cancelJob(jobId, 'the entry was given to another consumer');
  });

  return {
    waitUntilReady: () => worker.waitUntilReady(),
    async close(limitMs) {
      isClosing = true;
      const closing = worker.close();
      worker.cancelAllJobs('the consumer is closing');
      const isClosed = await endsWithin(closing, limitMs);
      if (!isClosed) log.warn({ queue: name, limitMs }, 'the consumer did not close in time; its entries go to another one');
    },
  };
}

/** BullMQ aborts with a string; handlers throw, and loggers expect, an Error. */
function withErrorReason(signal: AbortSignal | undefined): AbortSignal {
  const controller = new AbortController();
  signal?.addEventListener('abort', () => controller.abort(new Error(String(signal.reason))), { once: true });
  return controller.signal;
}

function tryParse<Name extends QueueName>(name: Name, value: unknown): { entry: QueueEntry<Name> } | { error: unknown } {
  try {
    return parseEntry(name, value);
  } catch (error) {
    return { error };
  }
}

async function endsWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  const { promise: limit, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), limitMs);
  const done = work.then(
    () => true,
    () => true,
  );
  return Promise.race([done, limit]).finally(() => clearTimeout(timer));
}

/** Tracks whether the queue's server responds; logs once when it is lost and once when it is back. */
export type Outage = {
  /** Records a call that failed for lack of a connection. */
  failed(error: Error): void;
  /** Take this before a call, and pass it to `recovered` if the call succeeds. */
  mark(): number;
  /**
   * Records a successful call. It proves nothing if it began before the last failure, or directly follows it: a server that is going down
   * still answers on old connections. Without a mark: a new connection was opened.
   */
  recovered(mark?: number): void;
  /** Number of failed calls since the last success. */
  failures(): number;
  /** Whether this error object was already recorded as part of an outage: every queue of a connection emits it again. */
  knows(error: Error): boolean;
};

const settleMs = 250;

export function createOutage(log: Logger, place: string, now: () => number = Date.now): Outage {
  const logged = new WeakSet<Error>();
  let failures = 0;
  let total = 0;
  let since = 0;
  let last = 0;
  return {
    failed(error) {
      if (logged.has(error)) return;
      logged.add(error);
      failures += 1;
      total += 1;
      last = now();
      if (failures > 1) return;
      since = now();
      log.warn({ err: error, place }, 'the queue is not responding; retrying');
    },
    mark: () => total,
    recovered(mark) {
      if (failures === 0) return;
      if (mark !== undefined && (mark !== total || now() - last < settleMs)) return;
      log.info({ place, failures, outageMs: now() - since }, 'the queue is responding again');
      failures = 0;
    },
    failures: () => failures,
    knows: (error) => logged.has(error),
  };
}

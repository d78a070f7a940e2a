import type { Logger } from '@cairn/runtime';
import { type Job, WaitingError, Worker } from 'bullmq';
import { parseEntry, type QueueEntry, type QueueName } from './catalogue.ts';
import type { QueueConnection } from './queue-connection.ts';

/**
 * Handles one entry. `signal` is aborted when the consumer closes or the entry was given to another consumer. A handler
 * that throws ends the entry: trying again is decided by the row, except while closing, when the entry goes back.
 */
export type QueueHandler<Name extends QueueName> = (entry: QueueEntry<Name>, signal: AbortSignal) => Promise<void>;

export type ConsumerOptions<Name extends QueueName> = {
  /** Entries handled at once in this process. */
  concurrency: number;
  handler: QueueHandler<Name>;
  /**
   * An entry whose consumer was killed, or whose event loop was blocked, for this long goes to another one; found within
   * about half of it more.
   */
  lockMs?: number;
};

export type Consumer = {
  waitUntilReady(): Promise<void>;
  /** Takes no more entries, aborts the handlers' signals, and waits for them up to the limit. */
  close(limitMs: number): Promise<void>;
};

type Consumed<Name extends QueueName> = ConsumerOptions<Name> & { name: Name; prefix: string; connection: QueueConnection; log: Logger };

export function startConsumer<Name extends QueueName>(consumed: Consumed<Name>): Consumer {
  const { name, concurrency, handler, lockMs = 10_000, prefix, connection, log } = consumed;
  let isClosing = false;

  // BullMQ makes an abort signal only for a processor that declares three parameters.
  async function process(job: Job<unknown>, token: string | undefined, signal: AbortSignal | undefined): Promise<void> {
    const parsed = tryParse(name, job.data);
    if ('error' in parsed) {
      log.error({ queue: name, jobId: job.id, err: parsed.error }, 'dropped an entry that does not fit its queue');
      return;
    }
    try {
      await handler(parsed.entry, withErrorReason(signal));
    } catch (error) {
      if (isClosing && token !== undefined) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      log.error({ queue: name, jobId: job.id, err: error }, 'the handler of an entry failed');
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
      // A killed consumer is no fault of the entry: it is given out again however often.
      maxStalledCount: 1_000_000,
      drainDelay: 5,
      runRetryDelay: 250,
      removeOnComplete: { count: 0 },
      removeOnFail: { count: 0 },
    },
    connection.consumer,
  );
  worker.on('error', (error) => {
    if (!connection.isOutage(error)) log.warn({ queue: name, err: error }, 'the queue could not do as asked');
  });
  worker.on('lockRenewalFailed', (jobIds) => {
    for (const jobId of jobIds) worker.cancelJob(jobId, 'the entry was given to another consumer');
  });

  return {
    waitUntilReady: () => worker.waitUntilReady(),
    async close(limitMs) {
      isClosing = true;
      const closing = worker.close();
      worker.cancelAllJobs('the consumer closes');
      const isClosed = await endsWithin(closing, limitMs);
      if (!isClosed) log.warn({ queue: name, limitMs }, 'the consumer did not end in time; what it handles goes to another one');
    },
  };
}

/** BullMQ aborts with a text; what a handler throws on, and others log, is an Error. */
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

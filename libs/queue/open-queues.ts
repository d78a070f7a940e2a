import { CairnError } from '@cairn/contract';
import { backoff, deadline, type Logger, pause, untilAborted } from '@cairn/runtime';
import { type IQueueBackend, Queue } from 'bullmq';
import { parseEntry, type QueueConnection, type QueueEntry, type QueueName } from './catalogue.ts';
import { type Consumer, type ConsumerOptions, startConsumer } from './consumer.ts';
import { connectPostgres } from './postgres-connection.ts';
import { connectRedis } from './redis-connection.ts';

export type QueuesOptions = {
  /** `redis://`, `rediss://` or `postgres://`; PostgreSQL directly, not through a pooler, because consumers LISTEN. */
  url: string;
  log: Logger;
  /** Prefix of the keys in Redis. */
  prefix?: string;
  /** Schema of the tables in PostgreSQL. */
  schema?: string;
  /** Most connections to PostgreSQL from this process. */
  maxConnections?: number;
  /** Time limit of commands such as adding an entry. */
  commandLimitMs?: number;
};

export type QueueCounts = { waiting: number; active: number };

export type Queues = {
  /**
   * Adds an entry; does nothing while an entry for the same row and generation waits or runs.
   * @throws CairnError `unavailable` when the server does not answer within the limit; the entry may have been added
   */
  add<Name extends QueueName>(name: Name, entry: QueueEntry<Name>): Promise<void>;
  addBulk<Name extends QueueName>(name: Name, entries: readonly QueueEntry<Name>[]): Promise<void>;
  /** Starts handling the queue's entries; one consumer per queue at a time. */
  consume<Name extends QueueName>(name: Name, options: ConsumerOptions<Name>): Consumer;
  /**
   * Waits for the server, and creates the tables on PostgreSQL.
   * @throws CairnError `unavailable` after the time limit
   */
  waitUntilReady(options?: { signal?: AbortSignal; limitMs?: number }): Promise<void>;
  /** One round trip. @throws CairnError `unavailable` */
  ping(): Promise<void>;
  counts(name: QueueName): Promise<QueueCounts>;
  /**
   * Removes every entry of the queue, including those being handled. The queue is paused meanwhile, and stays paused if its server crashes
   * then.
   */
  empty(name: QueueName): Promise<void>;
  /** Closes consumers (their handlers get up to `limitMs`), then connections. */
  close(limitMs?: number): Promise<void>;
};

type AnyQueue = Queue<unknown, unknown, string, unknown, unknown, string, IQueueBackend, object>;

const bulkSize = 1000;
/**
 * Up to this many are added one by one: for a bulk, BullMQ creates two temporary tables on PostgreSQL, which cost more and bloat its
 * catalogue.
 */
const fewEntries = 8;
const deadlockTries = 5;
/** BullMQ writes an event for every change, which Cairn does not read. */
const keptEvents = 100;

/**
 * Opens the queues of the catalogue on Redis or PostgreSQL. Outages of the server are logged and waited out: consumers continue when it is
 * back, even if it is empty.
 * @throws CairnError `invalid_configuration` for another kind of URL
 */
export function openQueues(options: QueuesOptions): Queues {
  const { log, prefix = 'cairn', commandLimitMs = 5000 } = options;
  const connection = connect(options, commandLimitMs);
  const queues = new Map<QueueName, AnyQueue>();
  const consumers = new Map<QueueName, Consumer>();
  let closing: Promise<void> | undefined;

  function queueOf(name: QueueName): AnyQueue {
    const existing = queues.get(name);
    if (existing) return existing;
    const queue: AnyQueue = new Queue(name, { connection: {}, prefix, streams: { events: { maxLen: keptEvents } } }, connection.producer);
    queue.on('error', (error) => {
      if (!connection.isOutage(error)) log.warn({ queue: name, err: error }, 'a queue operation failed');
    });
    queues.set(name, queue);
    return queue;
  }

  /** Fails when the server does not answer within the limit. */
  async function limited<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await untilAborted(work(), AbortSignal.timeout(commandLimitMs));
    } catch (cause) {
      throw new CairnError('unavailable', `The queue at ${connection.place} is not responding (${what})`, {
        cause,
        details: { part: 'queue' },
      });
    }
  }

  async function closeAll(limitMs: number): Promise<void> {
    await Promise.all([...consumers.values()].map((consumer) => consumer.close(limitMs)));
    await Promise.all([...queues.values()].map((queue) => queue.close().catch(() => undefined)));
    await connection.close();
  }

  return {
    async add(name, value) {
      const { entry, jobId } = parseEntry(name, value);
      await limited(`adding to ${name}`, () => pastDeadlocks(() => queueOf(name).add(name, entry, jobOptions(jobId))));
    },
    async addBulk(name, values) {
      const jobs = values.map((value) => {
        const { entry, jobId } = parseEntry(name, value);
        return { name, data: entry, opts: jobOptions(jobId) };
      });
      const queue = queueOf(name);
      for (let start = 0; start < jobs.length; start += bulkSize) {
        const batch = jobs.slice(start, start + bulkSize);
        const isFew = batch.length <= fewEntries;
        const add = () => (isFew ? Promise.all(batch.map(({ data, opts }) => queue.add(name, data, opts))) : queue.addBulk(batch));
        await limited(`adding to ${name}`, () => pastDeadlocks<unknown>(add));
      }
    },
    consume(name, consumerOptions) {
      if (closing) throw new Error(`cannot consume the queue ${name}: the queues are closing`);
      if (consumers.has(name)) throw new Error(`the queue ${name} already has a consumer in this process`);
      const consumer = startConsumer({ ...consumerOptions, name, prefix, connection, log });
      consumers.set(name, consumer);
      return {
        ...consumer,
        async close(limitMs) {
          await consumer.close(limitMs);
          consumers.delete(name);
        },
      };
    },
    async waitUntilReady({ signal, limitMs = 30_000 } = {}) {
      const limit = deadline(signal, limitMs);
      for (let attempt = 0; ; attempt += 1) {
        try {
          return await limited('starting', () => connection.prepare());
        } catch (error) {
          if (limit.aborted) throw signal?.aborted ? signal.reason : error;
          await pause(backoff({ attempt, baseMs: 50, maxMs: 1000 }), limit);
        }
      }
    },
    ping: () => limited('ping', () => connection.ping()),
    async counts(name) {
      const counts = await limited(`counting ${name}`, () => queueOf(name).getJobCounts('wait', 'active'));
      return { waiting: counts.wait ?? counts.waiting ?? 0, active: counts.active ?? 0 };
    },
    async empty(name) {
      await limited(`emptying ${name}`, async () => {
        await queueOf(name).obliterate({ force: true });
        await queueOf(name).resume();
      });
    },
    close(limitMs = 5000) {
      closing ??= closeAll(limitMs);
      return closing;
    },
  };
}

/** PostgreSQL aborts one side of a deadlock, which retries: adding an entry twice keeps one. */
async function pastDeadlocks<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      const isDeadlock = error instanceof Error && 'code' in error && error.code === '40P01';
      if (!isDeadlock || tries === deadlockTries) throw error;
    }
  }
}

/** An ended job is removed at once, because the same name cannot be added while it is kept; the rows decide about retries. */
function jobOptions(jobId: string) {
  return { jobId, attempts: 1, removeOnComplete: true, removeOnFail: true };
}

function connect({ url, log, schema = 'bullmq', maxConnections = 8 }: QueuesOptions, commandLimitMs: number): QueueConnection {
  const protocol = URL.canParse(url) ? new URL(url).protocol : '';
  switch (protocol) {
    case 'redis:':
    case 'rediss:':
      return connectRedis({ url, log, commandLimitMs });
    case 'postgres:':
    case 'postgresql:':
      return connectPostgres({ url, schema, log, maxConnections, commandLimitMs });
    default:
      throw new CairnError('invalid_configuration', 'The URL of the queue must start with redis://, rediss:// or postgres://.', {
        details: { protocol },
      });
  }
}

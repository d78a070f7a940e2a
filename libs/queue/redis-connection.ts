import { backoff, type Logger } from '@cairn/runtime';
import { createRedisBackend } from 'bullmq';
import { Redis, type RedisOptions } from 'ioredis';
import type { AnyBackendFactory, QueueConnection } from './catalogue.ts';
import { createOutage } from './consumer.ts';

export type RedisConnectionOptions = {
  url: string;
  log: Logger;
  /** Time limit of a command that adds an entry. */
  commandLimitMs: number;
};

/**
 * Queues on Redis 7 or Valkey. Two connections, and one more for each consumer, which blocks on it: adding fails after a time limit;
 * consuming waits for the server to come back.
 */
export function connectRedis({ url, log, commandLimitMs }: RedisConnectionOptions): QueueConnection {
  const place = new URL(url).host;
  const outage = createOutage(log, place);

  const clients: Redis[] = [];
  let isClosing = false;

  function watch(redis: Redis): void {
    clients.push(redis);
    redis.on('error', (error: Error) => {
      if (!isClosing) outage.failed(error);
    });
    // Not `close`, which is also emitted for a connection that is closed on purpose.
    redis.on('reconnecting', () => outage.failed(new Error(`the connection to ${place} was lost`)));
    redis.on('ready', () => outage.recovered());
  }

  function client(options: Pick<RedisOptions, 'connectionName' | 'commandTimeout'>): Redis {
    const redis = new WatchedRedis(url, { ...options, retryStrategy, maxRetriesPerRequest: null }, watch);
    watch(redis);
    return redis;
  }

  const producer = client({ connectionName: 'cairn-add', commandTimeout: commandLimitMs });
  let consumer: Redis | undefined;

  const factoryOver =
    (redis: () => Redis): AnyBackendFactory =>
    (name, options, roles) =>
      createRedisBackend(name, { ...options, connection: redis() }, roles);

  return {
    place,
    producer: factoryOver(() => producer),
    consumer: factoryOver(() => {
      consumer ??= client({ connectionName: 'cairn-consume' });
      return consumer;
    }),
    async prepare() {
      await producer.ping();
    },
    async ping() {
      await producer.ping();
    },
    isOutage: (error) => isClosing || outage.knows(error) || isConnectionError(error) || outage.failures() > 0,
    async close() {
      isClosing = true;
      for (const redis of clients) endClient(redis);
    },
  };
}

const retryStrategy = (times: number) => backoff({ attempt: times, baseMs: 25, maxMs: 1000 });

/** BullMQ blocks on a duplicate that it makes of its connection: the duplicate is watched and closed with the rest. */
class WatchedRedis extends Redis {
  readonly #watch: (redis: Redis) => void;

  constructor(url: string, options: Omit<RedisOptions, 'replyMapping'>, watch: (redis: Redis) => void) {
    // BullMQ requires maxRetriesPerRequest null where it blocks; adding is limited by the command timeout.
    super(url, options);
    this.#watch = watch;
  }

  override duplicate(options?: Partial<RedisOptions>): Redis {
    const copy = super.duplicate(options);
    this.#watch(copy);
    return copy;
  }
}

function endClient(redis: Redis): void {
  redis.disconnect();
  if (redis.status !== 'reconnecting') return;
  // Between two connection attempts ioredis would stay disconnected forever with unanswered commands, which BullMQ awaits; aborting a
  // connection attempt fails them all.
  redis.connect().catch(() => undefined);
  redis.disconnect();
}

/** Socket errors carry the system call; server errors are ReplyErrors. */
function isConnectionError(error: Error): boolean {
  return 'syscall' in error || error.name === 'MaxRetriesPerRequestError' || error.name === 'ConnectionClosedError';
}

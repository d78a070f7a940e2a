import { PostgresConnection, PostgresQueueBackend } from 'bullmq';
import { openPostgresPool, type PostgresPool, type PostgresPoolOptions } from './postgres-pool.ts';
import type { AnyBackendFactory, QueueConnection } from './queue-connection.ts';

/**
 * Queues on PostgreSQL, in a schema of their own. All queues and consumers of a process share one pool and one
 * connection that listens (BullMQ by itself opens a pool and a listener for each).
 */
export function connectPostgres(options: PostgresPoolOptions): QueueConnection {
  const shared = openPostgresPool(options);
  const connection = new SharedConnection(shared, options.schema);
  const backend: AnyBackendFactory = (name, queueOptions) =>
    new PostgresQueueBackend(connection, name, { ...queueOptions, connection: shared.pool });
  return {
    place: new URL(options.url).host,
    producer: backend,
    consumer: backend,
    prepare: () => connection.waitUntilReady(),
    async ping() {
      await shared.pool.query('select 1');
    },
    isOutage: (error) => shared.outage.knows(error),
    async close() {
      await connection.closeShared();
      await shared.pool.end();
    },
  };
}

/** BullMQ's connection, except that it outlives the queues on it, and that a first try that failed is not its last. */
class SharedConnection extends PostgresConnection {
  override readonly schema: string;
  readonly #shared: PostgresPool;
  #ready: Promise<void> | undefined;

  constructor(shared: PostgresPool, schema: string) {
    super(shared.pool);
    this.#shared = shared;
    this.schema = schema;
    this.setMaxListeners(0);
    // Of the connection that listens; every queue and consumer emits it again.
    this.on('error', (error: Error) => shared.outage.seen(error));
  }

  override waitUntilReady(): Promise<void> {
    this.#ready ??= this.#shared.migrate().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  /** Keeps a consumer from waiting up to an hour for a notification after an error: it looks every few seconds. */
  override get hasListenClientKeepAlive(): boolean {
    return false;
  }

  override async close(): Promise<void> {
    // One queue closes; the others go on.
  }

  override async disconnect(): Promise<void> {
    // As close.
  }

  closeShared(): Promise<void> {
    return super.close();
  }
}

import { EventEmitter } from 'node:events';
import { backoff, type Logger, pause } from '@cairn/runtime';
import { PostgresConnection, type PostgresConnectionOptions, PostgresQueueBackend, quoteSchemaName, runMigrations } from 'bullmq';
import pg from 'pg';
import type { AnyBackendFactory, QueueConnection } from './catalogue.ts';
import { createOutage, type Outage } from './consumer.ts';

/**
 * Queues on PostgreSQL, in a separate schema. All queues and consumers of a process share one pool and one LISTEN connection (by itself
 * BullMQ opens a pool and a listener for each).
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

/** BullMQ's connection, except that it outlives the queues on it, and that it retries after a failed first connect. */
class SharedConnection extends PostgresConnection {
  override readonly schema: string;
  readonly #shared: PostgresPool;
  #ready: Promise<void> | undefined;

  constructor(shared: PostgresPool, schema: string) {
    super(shared.pool);
    this.#shared = shared;
    this.schema = schema;
    this.setMaxListeners(0);
    // An error of the LISTEN connection; every queue and consumer emits it again.
    this.on('error', (error: Error) => shared.outage.failed(error));
  }

  override waitUntilReady(): Promise<void> {
    this.#ready ??= this.#shared.migrate().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  /** Keeps a consumer from waiting up to an hour for a notification after an error: it polls every few seconds. */
  override get hasListenClientKeepAlive(): boolean {
    return false;
  }

  override async close(): Promise<void> {
    // One queue closes; the others continue.
  }

  override async disconnect(): Promise<void> {
    // As close.
  }

  closeShared(): Promise<void> {
    return super.close();
  }
}

type PostgresPoolOptions = {
  url: string;
  /** The schema of BullMQ's tables. */
  schema: string;
  log: Logger;
  /** Most connections, including the LISTEN connection. */
  maxConnections: number;
  /** Time limit of one command. */
  commandLimitMs: number;
};

type PostgresPool = {
  /** The pool in the form that BullMQ's PostgreSQL backend expects. */
  pool: PgPool;
  /** Creates or repairs BullMQ's schema. */
  migrate(): Promise<void>;
  outage: Outage;
};

type PgPool = Extract<PostgresConnectionOptions, { connect: unknown; query: unknown }>;

/** SQLSTATE of a missing schema, table or function. */
const missingSchema = new Set(['3F000', '42P01', '42883']);
/** SQLSTATE of a table, function or type that already exists. */
const duplicate = new Set(['42P07', '42723', '42710']);
/** BullMQ's own errors, such as a lost lock: an answer, not a failure. */
const ownRefusal = 'BM001';

/**
 * A pool that tolerates a consumer's tight loop: a failed call is delayed before it fails, longer each time (BullMQ retries at once),
 * outages are logged once, and a dropped store is created again.
 */
function openPostgresPool({ url, schema, log, maxConnections, commandLimitMs }: PostgresPoolOptions): PostgresPool {
  const { host } = new URL(url);
  const outage = createOutage(log, host);
  const closing = new AbortController();
  const pool = new pg.Pool({
    connectionString: url,
    application_name: 'cairn-queue',
    max: maxConnections,
    connectionTimeoutMillis: commandLimitMs,
    query_timeout: commandLimitMs,
    keepAlive: true,
    // The queue is not the source of truth: an entry lost in a power failure is added again from its row. A later transaction that is
    // flushed to disk includes the earlier entry, since they share one write-ahead log.
    options: `-c search_path=${quoteSchemaName(schema)} -c synchronous_commit=off`,
  });
  // Idle connections that the server closes; without a listener their errors would end the process.
  pool.on('error', (error) => outage.failed(error));

  async function watched<T>(work: () => Promise<T>): Promise<T> {
    const mark = outage.mark();
    try {
      const result = await work();
      outage.recovered(mark);
      return result;
    } catch (error) {
      if (error instanceof Error && isOutage(error)) outage.failed(error);
      if (stateOf(error) !== ownRefusal) await untilNextTry();
      throw error;
    }
  }

  async function untilNextTry(): Promise<void> {
    const attempt = Math.max(0, outage.failures() - 1);
    await pause(backoff({ attempt, baseMs: 50, maxMs: 1000 }), closing.signal);
  }

  let migrating: Promise<void> | undefined;
  function migrate(): Promise<void> {
    migrating ??= watched(() => withClient(pool, (client) => ensureSchema(client, schema))).finally(() => {
      migrating = undefined;
    });
    return migrating;
  }

  /** BullMQ's commands are single statements, so one can be repeated when its function was missing. */
  async function query(text: string, parameters: readonly unknown[]): Promise<pg.QueryResult> {
    try {
      return await pool.query(text, [...parameters]);
    } catch (error) {
      if (!missingSchema.has(stateOf(error) ?? '')) throw error;
      log.warn({ err: error, schema }, "the queue's tables are missing; creating them again");
      await migrate();
      return pool.query(text, [...parameters]);
    }
  }

  const watchedPool = Object.assign(new EventEmitter(), {
    query: (text: string, parameters: readonly unknown[] = []) => watched(() => query(text, parameters)),
    // BullMQ and pg declare the events of a client incompatibly; the client is the same.
    connect: () => watched(() => pool.connect()) as Promise<unknown> as ReturnType<PgPool['connect']>,
    async end() {
      closing.abort();
      await pool.end();
    },
  });
  return { pool: watchedPool, migrate, outage };
}

/** An error without a SQLSTATE comes from the connection; some SQLSTATEs mean that the server is shutting down, starting or full. */
function isOutage(error: Error): boolean {
  const state = stateOf(error);
  if (state === undefined) return true;
  return state.startsWith('08') || state.startsWith('57P') || state === '53300';
}

function stateOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

async function withClient<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let failure: Error | undefined;
  try {
    return await work(client);
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error));
    throw error;
  } finally {
    client.release(failure);
  }
}

/**
 * Runs BullMQ's migrations. Tables whose migration ledger was emptied are dropped and created again: their content is not the source of
 * truth.
 */
async function ensureSchema(client: pg.PoolClient, schema: string): Promise<void> {
  const lock = ['cairn-queue', schema];
  await client.query('select pg_advisory_lock(hashtext($1), hashtext($2))', lock);
  try {
    await runMigrations(client, schema).catch(async (error: unknown) => {
      if (!duplicate.has(stateOf(error) ?? '')) throw error;
      await client.query(`drop schema ${quoteSchemaName(schema)} cascade`);
      await runMigrations(client, schema);
    });
  } finally {
    await client.query('select pg_advisory_unlock(hashtext($1), hashtext($2))', lock).catch(() => undefined);
  }
}

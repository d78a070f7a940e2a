import { EventEmitter } from 'node:events';
import { backoff, type Logger, pause } from '@cairn/runtime';
import { PostgresConnection, type PostgresConnectionOptions, PostgresQueueBackend, quoteSchemaName, runMigrations } from 'bullmq';
import pg from 'pg';
import { createOutage, type Outage } from './outage.ts';
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

type PostgresPoolOptions = {
  url: string;
  /** The schema of BullMQ's tables. */
  schema: string;
  log: Logger;
  /** Connections at most, the one that listens included. */
  maxConnections: number;
  /** Of one command, in milliseconds. */
  commandLimitMs: number;
};

type PostgresPool = {
  /** As BullMQ's PostgreSQL backend takes it. */
  pool: PgPool;
  /** Makes BullMQ's schema, or mends it. */
  migrate(): Promise<void>;
  outage: Outage;
};

type PgPool = Extract<PostgresConnectionOptions, { connect: unknown; query: unknown }>;

/** SQLSTATE of a schema, table or function that is not there. */
const missingSchema = new Set(['3F000', '42P01', '42883']);
/** Of a table, function or type that is there already. */
const duplicate = new Set(['42P07', '42723', '42710']);
/** BullMQ's own refusals, such as a lock that was lost: an answer, no failure. */
const ownRefusal = 'BM001';

/**
 * A pool that a consumer's loop can hammer on: a failed call waits a little before it fails, longer each time (BullMQ
 * tries again at once), outages are told once, and a store that was dropped is made again.
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
    // The queue is no truth: an entry that a power failure takes is added again from its row. A later transaction that
    // waits for the disk takes the earlier entry along, for they share one log.
    options: `-c search_path=${quoteSchemaName(schema)} -c synchronous_commit=off`,
  });
  // Idle connections that the server cuts; without a listener they would end the process.
  pool.on('error', (error) => outage.seen(error));

  async function watched<T>(work: () => Promise<T>): Promise<T> {
    const mark = outage.mark();
    try {
      const result = await work();
      outage.over(mark);
      return result;
    } catch (error) {
      if (error instanceof Error && isOutage(error)) outage.seen(error);
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

  /** BullMQ's commands, each one statement: safe to repeat when the first try found no function to call. */
  async function query(text: string, parameters: readonly unknown[]): Promise<pg.QueryResult> {
    try {
      return await pool.query(text, [...parameters]);
    } catch (error) {
      if (!missingSchema.has(stateOf(error) ?? '')) throw error;
      log.warn({ err: error, schema }, "the queue's tables are gone; making them again");
      await migrate();
      return pool.query(text, [...parameters]);
    }
  }

  const watchedPool = Object.assign(new EventEmitter(), {
    query: (text: string, parameters: readonly unknown[] = []) => watched(() => query(text, parameters)),
    // The declarations of BullMQ and of pg tell the events of a client in ways that do not meet; the client is the same.
    connect: () => watched(() => pool.connect()) as Promise<unknown> as ReturnType<PgPool['connect']>,
    async end() {
      closing.abort();
      await pool.end();
    },
  });
  return { pool: watchedPool, migrate, outage };
}

/** Errors without a SQLSTATE come from the connection; with one, from a server that is going down, coming up or full. */
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

/** Runs BullMQ's migrations. Tables whose ledger was emptied are dropped and made anew: their content is no truth. */
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

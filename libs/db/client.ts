import { liveAttemptStates } from '@cairn/contract';
import { sha256 } from '@cairn/runtime';
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { z } from 'zod';
import { Prisma, PrismaClient } from './generated/client.ts';

export type Database = {
  prisma: PrismaClient;
  close(): Promise<void>;
};

/** The client inside a transaction: commands take it, so that none opens its own by mistake. */
export type Transaction = Omit<PrismaClient, '$connect' | '$disconnect' | '$on' | '$transaction' | '$extends'>;

export type DatabaseOptions = {
  url: string;
  /** Most connections of this process. */
  connections?: number;
  /** Called when an idle connection breaks; the pool opens a new one. */
  onIdleError?: (error: Error) => void;
};

/** Opens the database. Nothing is connected until the first query; a statement may take at most 30 s. */
export function openDatabase({ url, connections = 8, onIdleError }: DatabaseOptions): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 60_000,
    statement_timeout: 30_000,
    keepAlive: true,
    application_name: 'cairn',
  });
  pool.on('error', (error) => onIdleError?.(error));
  // A connection that breaks between two statements of a transaction only emits to its own listeners; without one the process would end.
  // The next statement fails by itself.
  pool.on('connect', (client) => client.on('error', (error) => onIdleError?.(error)));
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool, { statementNameGenerator: createStatementNames() }) });
  return {
    prisma,
    close: async () => {
      await prisma.$disconnect();
      if (!pool.ended) await pool.end();
    },
  };
}

/**
 * Most statements that are kept prepared: some texts differ by the number of values they list, and a connection never drops a prepared one.
 */
const maxPrepared = 500;

/** Names for statements, so that each connection parses and plans each only once. The rest stay unnamed, and therefore unprepared. */
function createStatementNames(): (query: { sql: string }) => string {
  const names = new Map<string, string>();
  return ({ sql }) => {
    const known = names.get(sql);
    if (known !== undefined) return known;
    if (names.size >= maxPrepared) return '';
    // By content: a pooler shares connections between programs.
    const name = `cairn_${sha256(sql).slice(0, 24)}`;
    names.set(sql, name);
    return name;
  };
}

/** How often a transaction is retried after a deadlock. */
const deadlockRetries = 4;

/**
 * Runs `work` in one READ COMMITTED transaction of at most 20 s; it is retried after a deadlock.
 *
 * @throws what `work` throws, after the rollback
 */
export async function inTransaction<T>(prisma: PrismaClient, work: (tx: Transaction) => Promise<T>): Promise<T> {
  return retriedAfterDeadlock(() => prisma.$transaction(work, { timeout: 20_000, maxWait: 10_000 }));
}

/** For a statement that is a transaction of its own: `work` sends it. */
export async function retriedAfterDeadlock<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt > deadlockRetries || !isDeadlock(error)) throw error;
    }
  }
}

/** `('created', 'launching')` of a statement. Written as literals, not as parameters, so that partial indexes on states are used. */
export const listOfStates = (states: readonly string[]): Prisma.Sql => Prisma.raw(`(${states.map((state) => `'${state}'`).join(', ')})`);

/** The states of live attempts, for a statement. */
export const liveAttempts = listOfStates(liveAttemptStates);

const isDeadlock = (error: unknown): boolean => isDatabaseError(error, 'P2034', '40P01');

/** True for a unique violation, in a typed or a raw statement. */
export const isUniqueViolation = (error: unknown): boolean => isDatabaseError(error, 'P2002', '23505');

/** Prisma has its own codes for typed statements; raw statements only carry the database's code. */
const isDatabaseError = (error: unknown, code: string, sqlState: string): boolean =>
  error instanceof Prisma.PrismaClientKnownRequestError && (error.code === code || adapterCause(error).originalCode === sqlState);

const adapterError = z.object({
  cause: z.object({ kind: z.string().optional(), originalCode: z.string().optional(), originalMessage: z.string().optional() }),
});

/** The database's or connection's error behind an error of Prisma: `originalCode` is the SQLSTATE. Undefined for other errors. */
export function adapterCause(error: unknown): z.infer<typeof adapterError>['cause'] {
  const adapter = error instanceof Prisma.PrismaClientKnownRequestError ? error.meta?.driverAdapterError : error;
  return adapterError.safeParse(adapter).data?.cause ?? {};
}

export type ListenOptions = {
  url: string;
  channels: readonly string[];
  onNotification(channel: string, payload: string): void;
  /** Called after each (re)connect: notifications in between are lost, so read the tables again. */
  onConnect(): void;
  onError(error: Error): void;
  signal: AbortSignal;
};

const retryMs = { first: 200, max: 5_000 };

/**
 * Holds one LISTEN connection (direct, not through a pooler that shares sessions) until the signal aborts, and connects
 * again with backoff when it breaks. Notifications are hints: PostgreSQL drops those sent while there is no connection.
 */
export function listen({ url, channels, onNotification, onConnect, onError, signal }: ListenOptions): void {
  let client: pg.Client | null = null;
  let delayMs = retryMs.first;
  let timer: NodeJS.Timeout | null = null;

  const retry = () => {
    if (signal.aborted || timer) return;
    timer = setTimeout(() => {
      timer = null;
      connect();
    }, delayMs);
    delayMs = Math.min(retryMs.max, delayMs * 2);
  };
  const drop = (which: pg.Client) => {
    if (client !== which) return;
    client = null;
    which.removeAllListeners('notification');
    which.end().catch(onError);
    retry();
  };
  const connect = () => {
    if (signal.aborted) return;
    const next = new pg.Client({
      connectionString: url,
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
      application_name: 'cairn listen',
    });
    client = next;
    next.on('error', (error) => {
      if (!signal.aborted) onError(error);
      drop(next);
    });
    next.on('end', () => drop(next));
    next.on('notification', (message) => onNotification(message.channel, message.payload ?? ''));
    next
      .connect()
      .then(() => next.query(channels.map((channel) => `listen ${pg.escapeIdentifier(channel)}`).join(';')))
      .then(() => {
        delayMs = retryMs.first;
        onConnect();
      })
      .catch((error: unknown) => {
        if (!signal.aborted) onError(error instanceof Error ? error : new Error(String(error)));
        drop(next);
      });
  };
  signal.addEventListener(
    'abort',
    () => {
      if (timer) clearTimeout(timer);
      const last = client;
      client = null;
      last?.end().catch(onError);
    },
    { once: true },
  );
  connect();
}

export const wakeChannel = 'cairn_wake';
export const runChannel = 'cairn_run';
export const hintChannel = 'cairn_hint';

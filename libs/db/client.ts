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

/** The client inside a transaction: what commands take, so that none opens its own by mistake. */
export type Transaction = Omit<PrismaClient, '$connect' | '$disconnect' | '$on' | '$transaction' | '$extends'>;

export type DatabaseOptions = {
  url: string;
  /** Most connections of this process. */
  connections?: number;
  /** Told of a connection that broke while idle; the pool makes a new one. */
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
  // A connection that breaks between two statements of a transaction tells nobody but its own listeners; without one the
  // process would end. The next statement fails by itself.
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

/** Statements that are kept prepared, at most: some texts differ by how many values they list, and a connection never forgets. */
const maxPrepared = 500;

/** Names for statements, so that each connection parses and plans one only once. The rest stay unnamed, and so unprepared. */
function createStatementNames(): (query: { sql: string }) => string {
  const names = new Map<string, string>();
  return ({ sql }) => {
    const known = names.get(sql);
    if (known !== undefined) return known;
    if (names.size >= maxPrepared) return '';
    // By content: behind a pooler, connections of several programs meet.
    const name = `cairn_${sha256(sql).slice(0, 24)}`;
    names.set(sql, name);
    return name;
  };
}

/** A transaction that another one's locks killed is tried again this often. */
const deadlockRetries = 4;

/**
 * Runs `work` in one READ COMMITTED transaction of at most 20 s; one that a deadlock ended is run again.
 *
 * @throws whatever `work` throws, after the rollback
 */
export async function inTransaction<T>(prisma: PrismaClient, work: (tx: Transaction) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await prisma.$transaction(work, { timeout: 20_000, maxWait: 10_000 });
    } catch (error) {
      if (attempt > deadlockRetries || !isDeadlock(error)) throw error;
    }
  }
}

/** `('created', 'launching')` of a statement. Written out and not given as values, so that an index on some states alone is used. */
export const listOfStates = (states: readonly string[]): Prisma.Sql => Prisma.raw(`(${states.map((state) => `'${state}'`).join(', ')})`);

/** The states of attempts that are not over, in a statement. */
export const liveAttempts = listOfStates(liveAttemptStates);

const isDeadlock = (error: unknown): boolean => isDatabaseError(error, 'P2034', '40P01');

/** True for the failure of a statement, typed or raw, that would have made a second row where a constraint allows one. */
export const isUniqueViolation = (error: unknown): boolean => isDatabaseError(error, 'P2002', '23505');

/** Prisma gives typed statements codes of its own; of raw ones only the database's code tells. */
const isDatabaseError = (error: unknown, code: string, sqlState: string): boolean =>
  error instanceof Prisma.PrismaClientKnownRequestError && (error.code === code || adapterCause(error).originalCode === sqlState);

const adapterError = z.object({
  cause: z.object({ kind: z.string().optional(), originalCode: z.string().optional(), originalMessage: z.string().optional() }),
});

/** What the database, or the connection to it, said of an error of Prisma: `originalCode` is the SQLSTATE. Nothing for other errors. */
export function adapterCause(error: unknown): z.infer<typeof adapterError>['cause'] {
  const adapter = error instanceof Prisma.PrismaClientKnownRequestError ? error.meta?.driverAdapterError : error;
  return adapterError.safeParse(adapter).data?.cause ?? {};
}

import { CairnError, firstOf } from '@cairn/contract';
import { adapterCause, Prisma } from '@cairn/db';
import { backoff, deadline, type Logger, sleep } from '@cairn/runtime';

/** Prisma's codes for a database that is unavailable: https://www.prisma.io/docs/orm/reference/error-reference */
const unavailableCodes = new Set(['P1000', 'P1001', 'P1002', 'P1003', 'P1008', 'P1010', 'P1011', 'P1017', 'P2024', 'P2028', 'P2037']);

/** Kinds of @prisma/driver-adapter-utils' MappedError that mean the same. */
const unavailableKinds = new Set([
  'DatabaseNotReachable',
  'ConnectionClosed',
  'SocketTimeout',
  'TlsConnectionError',
  'TooManyConnections',
  'AuthenticationFailed',
  'DatabaseDoesNotExist',
  'DatabaseAccessDenied',
]);

/**
 * SQLSTATE classes: 08 connection exception, 57P01 to 57P03 shutdown, crash and start-up, 53 insufficient resources, 25006 a
 * read-only server during a failover (https://www.postgresql.org/docs/current/errcodes-appendix.html).
 */
const unavailableSqlState = /^(08...|57P0[123]|53...|25006)$/;

/** node-postgres has no code for a connection that broke or was not available in time. */
const brokenConnection =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Query read timeout)/;

/**
 * Values that PostgreSQL cannot store: class 22 (data exception) for text, numbers, times and JSON, and 54000, an index entry that is too
 * long. This covers values that the schemas do not reject.
 */
const unkeepableSqlState = /^(22003|22008|22021|22P02|22P05|54000)$/;

/**
 * `unavailable` when the database is unavailable, `invalid_request` when it cannot store a value of the request, so that a retry cannot
 * succeed. Undefined for every other error.
 */
export function databaseFault(error: unknown): CairnError | undefined {
  if (isUnavailable(error))
    return new CairnError('unavailable', 'PostgreSQL is not responding; retry in a few seconds', {
      cause: error,
      details: { part: 'database' },
    });
  const { originalCode, originalMessage = '' } = adapterCause(error);
  if (originalCode === undefined || !unkeepableSqlState.test(originalCode)) return undefined;
  return new CairnError('invalid_request', `The request contains a value that cannot be stored: ${firstOf(originalMessage, 200)}`, {
    cause: error,
    details: { part: 'database' },
  });
}

function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof Prisma.PrismaClientInitializationError) return true;
  if (error instanceof Prisma.PrismaClientKnownRequestError && unavailableCodes.has(error.code)) return true;
  const { kind, originalCode } = adapterCause(error);
  if (kind !== undefined && unavailableKinds.has(kind)) return true;
  if (originalCode !== undefined && unavailableSqlState.test(originalCode)) return true;
  return brokenConnection.test(error.message) || isUnavailable(error.cause);
}

/**
 * Runs the first work with the database, retrying while it does not answer: a database that starts together with this program may take a
 * while. Other errors, and the last one after the limit, are thrown.
 */
export async function awaitDatabase(
  work: () => Promise<void>,
  options: { limitMs: number; signal: AbortSignal; log: Logger },
): Promise<void> {
  const limit = deadline(options.signal, options.limitMs);
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const fault = databaseFault(error);
      if (fault === undefined || limit.aborted) throw fault ?? error;
      options.log.warn({ err: error }, 'the database is not responding yet');
      await sleep(backoff({ attempt, baseMs: 100, maxMs: 2_000 }), options.signal);
    }
  }
}

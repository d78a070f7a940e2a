import { CairnError } from '@cairn/contract';
import { Prisma } from '@cairn/db';
import { z } from 'zod';

/** Prisma's codes for a database that cannot be used now: https://www.prisma.io/docs/orm/reference/error-reference */
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

/** node-postgres has no code for a connection that broke or could not be had in time. */
const brokenConnection =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Query read timeout)/;

const adapterError = z.object({ cause: z.object({ kind: z.string().optional(), originalCode: z.string().optional() }) });

/** `unavailable` when the error says that the database cannot be used now; undefined for every other error. */
export function databaseFault(error: unknown): CairnError | undefined {
  return isUnavailable(error)
    ? new CairnError('unavailable', 'PostgreSQL does not answer; try again in a few seconds', {
        cause: error,
        details: { part: 'database' },
      })
    : undefined;
}

function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof Prisma.PrismaClientInitializationError) return true;
  if (error instanceof Prisma.PrismaClientKnownRequestError && unavailableCodes.has(error.code)) return true;
  const adapter = adapterError.safeParse(error instanceof Prisma.PrismaClientKnownRequestError ? error.meta?.driverAdapterError : error);
  const { kind, originalCode } = adapter.data?.cause ?? {};
  if (kind !== undefined && unavailableKinds.has(kind)) return true;
  if (originalCode !== undefined && unavailableSqlState.test(originalCode)) return true;
  return brokenConnection.test(error.message) || isUnavailable(error.cause);
}

import { CairnError, faultText, firstOf, type Problem, unwrapped } from '@cairn/contract';
import { adapterCause, Prisma } from '@cairn/db';
import { backoff, deadline, didYouMean, type Logger, nearestName, sleep } from '@cairn/runtime';
import { z } from 'zod';

/** Limits of an answer, because it quotes what the caller sent. */
const maxDetail = 4_000;
const maxDetailsBytes = 32 * 1024;

/** The problem document (RFC 9457) of an error. */
export function problemOf(error: CairnError, requestId: string): Problem {
  const { title, status, retry } = error.row;
  const { remedy = error.row.remedy } = error.details;
  const hasDetails = Object.keys(error.details).length > 0 && Buffer.byteLength(JSON.stringify(error.details)) <= maxDetailsBytes;
  return {
    type: `urn:cairn:error:${error.code}`,
    title,
    status,
    code: error.code,
    detail: firstOf(error.message, maxDetail),
    remedy: typeof remedy === 'string' ? remedy : error.row.remedy,
    retry,
    requestId,
    ...(hasDetails ? { details: error.details } : {}),
  };
}

/** Requests that Fastify itself rejects: by its code where a better message than its own exists. */
function fastifyFault(error: unknown): CairnError | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  const known = fastifyErrors.get(error.code);
  if (known !== undefined) return known(error);
  const isRefusal = error.code.startsWith('FST_ERR_') && 'statusCode' in error && Number(error.statusCode) < 500;
  return isRefusal ? new CairnError('invalid_request', `Invalid request: ${error.message}`, { cause: error }) : undefined;
}

const fastifyErrors = new Map<string, (error: Error) => CairnError>(
  Object.entries({
    FST_ERR_CTP_INVALID_MEDIA_TYPE: (cause) =>
      new CairnError('invalid_request', 'Unsupported content type; send application/json', {
        cause,
        details: { remedy: 'Set the header Content-Type; a webhook of GitHub has it in its settings, where it is another one by default.' },
      }),
    FST_ERR_BAD_URL: (cause) =>
      new CairnError(
        'invalid_path',
        'The path is not a valid URL path: it has a percent sign without two hexadecimal digits, or bytes that are not UTF-8',
        { cause },
      ),
    FST_ERR_MAX_PARAM_LENGTH: (cause) => new CairnError('invalid_path', 'A name or id in the path is too long', { cause }),
  } satisfies Record<string, (error: Error) => CairnError>),
);

/**
 * The error as one of the error table: itself, an error of Fastify or the database, or else `internal`, whose message reveals no internals;
 * the log has the whole error under the request's id.
 */
export function asCairnError(error: unknown): CairnError {
  if (error instanceof CairnError) return error;
  return (
    fastifyFault(error) ??
    databaseFault(error) ??
    new CairnError('internal', 'The request failed because of an error in Cairn; the log has the cause under the request ID', {
      cause: error,
    })
  );
}

/** An invalid field of a request. */
type FieldError = {
  /** Dotted path within the part; empty for the whole. */
  path: string;
  message: string;
  /** For an unknown name or value: the nearest known one. */
  nearest?: string;
};

/** Fastify's name of each part of a request, and its name for people. */
export const requestParts = { body: 'body', querystring: 'query', params: 'path', headers: 'headers' } as const;
export type RequestPart = keyof typeof requestParts;

/**
 * The errors of a part of a request, field by field, with the nearest name for an unknown one.
 *
 * @returns `invalid_path` for a name or id that would leave its folder, else `invalid_request`
 */
export function requestFault(part: RequestPart, schema: z.core.$ZodType, data: unknown, error: z.core.$ZodError): CairnError {
  // Unknown names first: a missing field is often a misspelled one.
  const faults = flatFaults(error.issues).toSorted((a, b) => Number(b.key !== null) - Number(a.key !== null));
  const errors = faults.slice(0, maxReported).map((fault) => fieldError(fault, schema, data));
  const [first] = errors;
  const detail = first === undefined ? 'invalid value' : `${first.path === '' ? '' : `${first.path}: `}${first.message}`;
  const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : '';
  const code = part === 'params' && leavesItsFolder(data) ? 'invalid_path' : 'invalid_request';
  return new CairnError(code, `The ${requestParts[part]} of the request is invalid: ${detail}${more}`, {
    details: { part: requestParts[part], errors },
    cause: error,
  });
}

/** Most errors to report; a caller with more corrects these first. */
const maxReported = 20;
/** Most characters of a name to report; no nearest name is searched for a longer one. */
const maxNameLength = 100;

/** One error: an issue, and for unknown names the key. */
type Fault = { issue: z.core.$ZodIssue; path: PropertyKey[]; key: string | null };

function flatFaults(issues: readonly z.core.$ZodIssue[], base: PropertyKey[] = []): Fault[] {
  return issues.flatMap((issue): Fault[] => {
    const path = [...base, ...issue.path];
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => ({ issue, path, key }));
    if (issue.code === 'invalid_union' && issue.errors.length > 0) return flatFaults(bestBranch(issue.errors), path);
    return [{ issue, path, key: null }];
  });
}

function fieldError({ issue, path, key }: Fault, schema: z.core.$ZodType, data: unknown): FieldError {
  if (key !== null) return withNearest(dotted([...path, key]), 'unknown field', key, keysAt(schema, path));
  if (issue.code === 'invalid_value') {
    const value = valueAt(data, path);
    const known = issue.values.map(String);
    return withNearest(dotted(path), `expected one of ${known.join(', ')}`, typeof value === 'string' ? value : '', known);
  }
  // For an invalid name, the reason.
  const reason = issue.code === 'invalid_key' ? issue.issues[0]?.message : undefined;
  return { path: dotted(path), message: faultText(reason ?? issue.message) };
}

/** The intended branch of a union: the one whose errors are deepest, not one that rejects the type of the whole. */
function bestBranch(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] {
  const depth = (issues: readonly z.core.$ZodIssue[]) =>
    issues.some((issue) => issue.path.length === 0 && issue.code === 'invalid_type')
      ? -1
      : Math.max(...issues.map((issue) => issue.path.length));
  return branches.toSorted((a, b) => depth(b) - depth(a))[0] ?? [];
}

function withNearest(path: string, message: string, given: string, known: readonly string[]): FieldError {
  const nearest = given.length > maxNameLength ? null : nearestName(given, known);
  return nearest === null ? { path, message } : { path, message: message + didYouMean(nearest), nearest };
}

/** The possible keys of an object at the path. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  const found = path.reduce<z.core.$ZodType[]>((schemas, key) => schemas.flatMap((one) => childAt(one, key)), objectsIn(schema));
  return found.flatMap((one) => objectsIn(one)).flatMap((one) => (one instanceof z.ZodObject ? Object.keys(one.shape) : []));
}

function childAt(schema: z.core.$ZodType, key: PropertyKey): z.core.$ZodType[] {
  return objectsIn(schema).flatMap((one): z.core.$ZodType[] => {
    if (one instanceof z.ZodObject) {
      const child: unknown = Object.hasOwn(one.shape, String(key)) ? one.shape[String(key)] : null;
      return child instanceof z.core.$ZodType ? [child] : [];
    }
    if (one instanceof z.ZodRecord) return [one.valueType];
    if (one instanceof z.ZodArray) return [one.element];
    return [];
  });
}

/** The objects, records and arrays in a schema, without their wrappers. */
function objectsIn(wrapped: z.core.$ZodType): z.core.$ZodType[] {
  const schema = unwrapped(wrapped);
  if (schema instanceof z.ZodUnion) return schema.options.flatMap((option) => objectsIn(option));
  return schema instanceof z.ZodPipe ? objectsIn(schema.in) : [schema];
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined),
    data,
  );
}

const dotted = (path: readonly PropertyKey[]): string => path.map((part) => firstOf(String(part), maxNameLength)).join('.');

function leavesItsFolder(params: unknown): boolean {
  const values = typeof params === 'object' && params !== null ? Object.values(params).map(String) : [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it searches for control characters
  return values.some((value) => /[/\\\u0000-\u001f]/.test(value) || value.startsWith('.'));
}

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
function databaseFault(error: unknown): CairnError | undefined {
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

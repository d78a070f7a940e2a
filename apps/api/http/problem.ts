import { CairnError, firstOf, type Problem } from '@cairn/contract';
import { databaseFault } from './database-fault.ts';

/** Limits of an answer, because it quotes what the caller sent. */
const maxDetail = 4_000;
const maxDetailsBytes = 32 * 1024;

/** The problem document (RFC 9457) of an error. */
export function problemOf(error: CairnError, requestId: string): Problem {
  const { title, status, remedy, retry } = error.row;
  const hasDetails = Object.keys(error.details).length > 0 && Buffer.byteLength(JSON.stringify(error.details)) <= maxDetailsBytes;
  return {
    type: `urn:cairn:error:${error.code}`,
    title,
    status,
    code: error.code,
    detail: firstOf(error.message, maxDetail),
    remedy,
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
      new CairnError('invalid_request', 'Unsupported content type; send application/json', { cause }),
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

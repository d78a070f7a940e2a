import { CairnError, type Problem } from '@cairn/contract';
import { databaseFault } from './database-fault.ts';

/** The problem document (RFC 9457) of an error. */
export function problemOf(error: CairnError, requestId: string): Problem {
  const { title, status, remedy, retry } = error.row;
  return {
    type: `urn:cairn:error:${error.code}`,
    title,
    status,
    code: error.code,
    detail: error.message,
    remedy,
    retry,
    requestId,
    ...(Object.keys(error.details).length > 0 ? { details: error.details } : {}),
  };
}

/** What Fastify itself refuses, by its code. */
const fastifyErrors: Record<string, (error: Error) => CairnError> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: (cause) =>
    new CairnError('invalid_request', 'The body has a content type that is not read here; send application/json', { cause }),
  FST_ERR_BAD_URL: (cause) =>
    new CairnError('invalid_path', 'The path is no valid URL path: it has a percent sign without two hexadecimal digits', { cause }),
  FST_ERR_MAX_PARAM_LENGTH: (cause) => new CairnError('invalid_path', 'A name or id in the path is too long', { cause }),
};

/**
 * The error as one of the table: itself, what Fastify or the database refused, or else `internal`, whose message tells nothing
 * of the inside; the log has the whole error under the request's id.
 */
export function asCairnError(error: unknown): CairnError {
  if (error instanceof CairnError) return error;
  const known =
    error instanceof Error && 'code' in error && typeof error.code === 'string' ? fastifyErrors[error.code]?.(error) : undefined;
  return (
    known ??
    databaseFault(error) ??
    new CairnError('internal', 'The request failed by a fault of Cairn; the log has the cause under the request id', { cause: error })
  );
}

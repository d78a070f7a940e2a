import { CairnError, type ErrorCode, errorTable, type Problem, problem } from '@cairn/contract';

/** Codes for answers without a problem document: from a proxy, or from a server that is not Cairn. */
const codeOfStatus: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_request',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  409: 'wrong_state',
  413: 'payload_too_large',
  429: 'rate_limited',
  502: 'unavailable',
  503: 'unavailable',
  504: 'unavailable',
};

/**
 * The error of an answer with a status of 400 or more: from its problem document, or, where the body is not one, from the
 * status and the body's beginning. `details` holds `status`, `requestId` and `remedy` in addition to those of the problem.
 *
 * @param call the request, such as `GET /v1/runs`
 */
export function errorOfProblem(status: number, body: string, call: string, readJson: (text: string) => unknown = JSON.parse): CairnError {
  const parsed = problem.safeParse(jsonOrNull(body, readJson));
  if (parsed.success) {
    const { code, detail, remedy, requestId, details } = parsed.data;
    return new CairnError(code, detail, { details: { remedy, ...details, status, requestId } });
  }
  const beginning = body.trim().slice(0, 200);
  return new CairnError(
    codeOfStatus[status] ?? 'internal',
    `${call} returned status ${status} without a problem document${beginning === '' ? '' : `: ${beginning}`}`,
    { details: { status } },
  );
}

/** The problem document of any error, for machine-readable output: the same shape as the API's. */
export function problemOfError(error: unknown): Problem {
  const known = error instanceof CairnError ? error : new CairnError('internal', messageOf(error), { cause: error });
  const { requestId, remedy: _remedy, status: _status, ...details } = known.details;
  return {
    type: `urn:cairn:error:${known.code}`,
    title: known.row.title,
    status: known.row.status,
    code: known.code,
    detail: known.message,
    remedy: remedyOf(known),
    retry: known.row.retry,
    requestId: typeof requestId === 'string' ? requestId : '',
    ...(Object.keys(details).length > 0 ? { details } : {}),
  };
}

/** What to do about an error: the error's own remedy, else that of the error table for its code. */
export function remedyOf(error: CairnError): string {
  const own = error.details.remedy;
  return typeof own === 'string' && own !== '' ? own : errorTable[error.code].remedy;
}

/** The message of an error with those of its causes, innermost last: fetch puts the reason in a cause. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error && parts.length < 5; at = at.cause) {
    // Node reports a refused connection to several addresses as an AggregateError with an empty message.
    const inner = at instanceof AggregateError ? at.errors.map(messageOf).join(', ') : '';
    const message = at.message || inner;
    if (message !== '' && !parts.includes(message)) parts.push(message);
  }
  return parts.join(': ') || error.name;
}

function jsonOrNull(text: string, readJson: (text: string) => unknown): unknown {
  try {
    return readJson(text);
  } catch {
    return null;
  }
}

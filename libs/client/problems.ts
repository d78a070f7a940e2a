import { CairnError, type ErrorCode, errorTable, type Problem, problem } from '@cairn/contract';

/** Codes for answers that are no problem documents: those of a proxy, or of something that is no Cairn at all. */
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
 * The error that an answer with a status of 400 or more tells: its problem document, or, where the body is none, the
 * status and the body's beginning. `details` holds `status`, `requestId` and `remedy` besides what the problem names.
 *
 * @param call what was asked, such as `GET /v1/runs`
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
    `${call} was answered with status ${status} and no problem document${beginning === '' ? '' : `: ${beginning}`}`,
    { details: { status } },
  );
}

/** The problem document of any error, for machine output: the same shape as the API's. */
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

/** What to do about an error: what the error itself says, else what the error table says for its code. */
export function remedyOf(error: CairnError): string {
  const own = error.details.remedy;
  return typeof own === 'string' && own !== '' ? own : errorTable[error.code].remedy;
}

/** The message of an error with those of its causes, innermost last: fetch hides the reason in a cause. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error && parts.length < 5; at = at.cause) {
    // Node gives a refused connection to several addresses as an AggregateError with an empty message.
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

import { CairnError, type ErrorCode, errorTable, isCairnError, type Problem, problem } from '@cairn/contract';
import type { z } from 'zod';
import { boundedBody } from './bounded-body.ts';
import { delayAfter, wait, within } from './wait.ts';

export type RequestOptions = {
  signal?: AbortSignal | undefined;
  /** Time limit of one try; 30 s by default. */
  timeoutMs?: number | undefined;
};

/** A list is sent as a repeated parameter. */
type QueryValue = string | number | boolean | readonly string[] | undefined;

export type Call<T> = {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Path segments below the address; each is encoded, and one that would leave its folder is refused. */
  path: readonly string[];
  query?: Readonly<Record<string, QueryValue>>;
  body?: unknown;
  /** A file instead of a JSON body. */
  octets?: Blob;
  headers?: Readonly<Record<string, string>>;
  /** Whether the call is idempotent: only then is a failed try repeated. */
  repeatable: boolean;
  answer: AnswerSchema<T>;
  /** The texts of the answer are returned as a program wrote them: `readText` is not applied. */
  isVerbatim?: boolean;
};

/** The part of a zod schema that an answer is parsed with. */
type AnswerSchema<T> = Pick<z.ZodType<T>, 'safeParse'>;

/** For answers of which only the status matters. */
export const statusAlone: AnswerSchema<unknown> = { safeParse: (data) => ({ success: true, data }) };

type RequesterOptions = {
  url: string;
  token?: string | undefined;
  fetch: typeof fetch;
  /** Tries of a repeatable call, including the first. */
  tries: number;
  /** See the client's option. */
  readText?: ((text: string) => string) | undefined;
};

export type Requester = {
  /** Sends a call and parses its answer. Throws CairnError; the signal's reason when aborted. */
  send: <T>(call: Call<T>, options?: RequestOptions) => Promise<T>;
  /** Opens a stream: one try; the caller must read or cancel the body. */
  open: (path: readonly string[], query: Call<never>['query'], headers: Record<string, string>, signal: AbortSignal) => Promise<Response>;
  /** The value of a JSON text of the server. */
  readJson: (text: string) => unknown;
  url: string;
};

const defaultTimeoutMs = 30_000;
const maxDelayMs = 5_000;

/** Bytes of an answer that is read as a whole. The largest are pages of a few megabytes. */
const mostAnswerBytes = 64 * 1024 ** 2;

/** The text of an answer. Throws `protocol_mismatch` for one that is too long. */
export async function textOf(response: Response, name: string): Promise<string> {
  const tooLong = (): CairnError =>
    new CairnError('protocol_mismatch', `The answer to ${name} has more than ${mostAnswerBytes} bytes`, {
      details: { remedy: 'Check that the address is that of a Cairn API.' },
    });
  const decoder = new TextDecoder();
  const parts: string[] = [];
  for await (const bytes of boundedBody(response, mostAnswerBytes, tooLong)) parts.push(decoder.decode(bytes, { stream: true }));
  return parts.join('') + decoder.decode();
}

export function createRequester(options: RequesterOptions): Requester {
  const base = baseOf(options.url);
  const authorization = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };

  const { readText } = options;
  const readJson = (text: string): unknown =>
    readText === undefined ? JSON.parse(text) : JSON.parse(text, (_, value: unknown) => withTexts(value, readText));

  async function attempt<T>(call: Call<T>, request: RequestOptions): Promise<T> {
    const name = `${call.method} /${call.path.join('/')}`;
    const { status, text, headers } = await exchange(call, name, request);
    if (status >= 400) throw refusal(status, text, headers, name, readJson);
    return parseAnswer(call.answer, text, name, call.isVerbatim ? JSON.parse : readJson);
  }

  async function exchange(call: Call<unknown>, name: string, request: RequestOptions) {
    const timeoutMs = request.timeoutMs ?? defaultTimeoutMs;
    try {
      const response = await options.fetch(addressOf(base, call.path, call.query), {
        method: call.method,
        headers: {
          accept: 'application/json',
          ...authorization,
          ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(call.octets === undefined ? {} : { 'content-type': 'application/octet-stream' }),
          ...call.headers,
        },
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        ...(call.octets === undefined ? {} : { body: call.octets }),
        signal: within(timeoutMs, request.signal),
      });
      return { status: response.status, text: await textOf(response, name), headers: response.headers };
    } catch (error) {
      throw unreachable(error, base, name, timeoutMs, request.signal);
    }
  }

  return {
    readJson,
    url: base.href.replace(/\/$/, ''),

    async send(call, request = {}) {
      for (let failures = 1; ; failures += 1) {
        try {
          return await attempt(call, request);
        } catch (error) {
          // A rate-limited call was not executed, so it may always be sent again.
          const isRepeatable = call.repeatable || isCairnError(error, 'rate_limited');
          if (!isRepeatable || failures >= options.tries || !mayPass(error)) throw error;
          await wait(delayAfter(error, failures, maxDelayMs), request.signal);
        }
      }
    },

    async open(path, query, headers, signal) {
      const name = `GET /${path.join('/')}`;
      let response: Response;
      try {
        response = await options.fetch(addressOf(base, path, query), { headers: { ...authorization, ...headers }, signal });
      } catch (error) {
        throw unreachable(error, base, name, defaultTimeoutMs, signal);
      }
      if (response.status < 400) return response;
      throw refusal(response.status, await textOf(response, name), response.headers, name, readJson);
    },
  };
}

/** A text, or an object with its keys, cleaned for the reader: in metrics and details other programs wrote the keys too. */
function withTexts(value: unknown, read: (text: string) => string): unknown {
  if (typeof value === 'string') return read(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [read(name), part]));
}

/** True for errors that a retry may get past: no connection, a server that restarts, a rate limit. */
export function mayPass(error: unknown): boolean {
  if (!(error instanceof CairnError)) return false;
  return error.code === 'unavailable' || error.code === 'rate_limited';
}

/** The error of an answer, with the server's Retry-After. */
function refusal(status: number, text: string, headers: Headers, name: string, readJson: (text: string) => unknown): CairnError {
  const error = errorOfProblem(status, text, name, readJson);
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  if (Number.isFinite(seconds)) error.details.retryAfterSeconds = seconds;
  return error;
}

/** The caller's own abort passes through as its reason; anything else is a server that cannot be reached. */
function unreachable(error: unknown, base: URL, name: string, timeoutMs: number, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof CairnError) return error;
  const why = error instanceof DOMException && error.name === 'TimeoutError' ? `no answer within ${timeoutMs / 1000} s` : messageOf(error);
  return new CairnError('unavailable', `${base.origin} cannot be reached (${name}): ${why}`, {
    details: { unreachable: true, remedy: 'Check that the service runs (`cairn up` starts one) and that the address is right.' },
    cause: error,
  });
}

function parseAnswer<T>(schema: AnswerSchema<T>, text: string, name: string, readJson: (text: string) => unknown): T {
  let value: unknown = null;
  try {
    if (schema !== statusAlone) value = readJson(text);
  } catch (error) {
    throw new CairnError('protocol_mismatch', `The answer to ${name} is not JSON: ${text.slice(0, 200)}`, {
      details: { remedy: 'Check that the address is that of a Cairn API.' },
      cause: error,
    });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.') || '(whole)'}: ${issue.message}`);
  throw new CairnError('protocol_mismatch', `The answer to ${name} does not match this client's schema: ${faults.join('; ')}`, {
    details: { remedy: 'Use a client of the same release as the service.' },
    cause: parsed.error,
  });
}

function baseOf(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) {
    throw new CairnError('invalid_configuration', `"${url}" is not an address of a Cairn API`, {
      details: { remedy: 'Use an address such as http://127.0.0.1:8080.' },
    });
  }
  return new URL(parsed.pathname.endsWith('/') ? parsed : `${parsed.origin}${parsed.pathname}/`);
}

function addressOf(base: URL, path: readonly string[], query: Call<unknown>['query']): URL {
  for (const segment of path) {
    // The URL parser treats an encoded `..` as the parent folder too.
    if (segment === '' || segment === '.' || segment === '..') {
      throw new CairnError('invalid_path', `"${segment}" is not a valid name or id (in /${path.join('/')})`);
    }
  }
  const address = new URL(path.map(encodeURIComponent).join('/'), base);
  for (const [key, value] of Object.entries(query ?? {})) {
    if (Array.isArray(value)) for (const one of value) address.searchParams.append(key, one);
    else if (value !== undefined) address.searchParams.set(key, String(value));
  }
  return address;
}

type Page<T> = { items: T[]; nextCursor: string | null };

/** Every item of a collection, page by page, fetched as the reader proceeds. */
export async function* eachItem<T>(fetchPage: (cursor: string | undefined) => Promise<Page<T>>): AsyncGenerator<T, void, void> {
  let cursor: string | undefined;
  for (;;) {
    const page = await fetchPage(cursor);
    yield* page.items;
    if (page.nextCursor === null) return;
    cursor = page.nextCursor;
  }
}

export type SubmitOptions = RequestOptions & {
  /** The same key twice is the same run; random by default, so that a repeated try submits only once. */
  idempotencyKey?: string | undefined;
};

/** 128 random bits. Not `crypto.randomUUID`: browsers have it only over https and on localhost. */
export const randomKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

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

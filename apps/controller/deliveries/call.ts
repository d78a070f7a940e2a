import { deadline } from '@cairn/runtime';

export type Call = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: string;
  headers: Record<string, string>;
  body?: string;
};
export type CallAnswer = { status: number; headers: Headers; text: string };

const limitMs = 15_000;
/** A page of 100 comments, each as long as code hosts allow, has about as much. */
const mostBytes = 8_000_000;

/**
 * Calls another service, through the proxy of the environment if there is one. A redirect is an answer, not followed: the message was
 * signed for this address, and another one was not allowed.
 *
 * @throws Error when no whole answer came within the time
 */
export async function call({ method, url, headers, body }: Call, signal: AbortSignal): Promise<CallAnswer> {
  const response = await fetch(url, {
    method,
    headers: { 'user-agent': 'cairn', ...headers },
    ...(body === undefined ? {} : { body }),
    redirect: 'manual',
    signal: deadline(signal, limitMs),
  });
  return { status: response.status, headers: response.headers, text: await textOf(response) };
}

async function textOf({ body }: Response): Promise<string> {
  if (body === null) return '';
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > mostBytes) throw new Error(`the answer has more than ${mostBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** Why there was no answer, in one line. */
export function faultOf(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return `no answer within ${limitMs / 1000} s`;
  // fetch hides the reason, such as ECONNREFUSED, in the cause.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}

const longestPauseMs = 24 * 3_600_000;

/** When a service that is busy or limits calls wants to be asked again; null where it does not say. */
export function pauseOf({ status, headers }: Pick<CallAnswer, 'status' | 'headers'>, now: Date): Date | null {
  const after = headers.get('retry-after');
  const seconds = after === null ? null : /^\d+$/.test(after) ? Number(after) : (Date.parse(after) - now.getTime()) / 1000;
  const exhausted = status === 429 || (status === 403 && headers.get('x-ratelimit-remaining') === '0');
  // Seconds since the epoch, at both code hosts.
  const reset = exhausted ? Number(headers.get('x-ratelimit-reset') ?? headers.get('ratelimit-reset') ?? Number.NaN) : Number.NaN;
  const until = seconds !== null && Number.isFinite(seconds) ? now.getTime() + seconds * 1000 : reset * 1000;
  return Number.isFinite(until) ? new Date(Math.min(Math.max(until, now.getTime()), now.getTime() + longestPauseMs)) : null;
}

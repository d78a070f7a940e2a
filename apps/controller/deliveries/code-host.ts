import { cleanText, firstOf } from '@cairn/contract';
import { z } from 'zod';
import { type Call, type CallAnswer, call, faultOf, pauseOf } from './call.ts';
import type { Try } from './outcome.ts';

/** A state that both code hosts have: `error` is a run that failed or was cancelled, `failure` one whose gate did not pass. */
export type CommitStatus = { state: 'pending' | 'success' | 'failure' | 'error'; context: string; description: string; url: string | null };

/** `isCertain`: the user of the token is known, and wrote it. */
export type Comment = { id: number; body: string; isOwn: boolean; isCertain: boolean };

/** The calls of a code host for one repository. Each throws {@link CallFailed}. */
export type CodeHostCalls = {
  setStatus(commit: string, status: CommitStatus): Promise<void>;
  /** A page of comments, oldest first; an empty one after the last. */
  listComments(pullRequest: number, page: number): Promise<Comment[]>;
  addComment(pullRequest: number, body: string): Promise<number>;
  changeComment(pullRequest: number, id: number, body: string): Promise<void>;
  removeComment(pullRequest: number, id: number): Promise<void>;
};

/** A call that was not answered as wanted, and what that means for the report. */
export class CallFailed extends Error {
  readonly tried: Extract<Try, { end: 'later' | 'refused' }>;

  constructor(tried: CallFailed['tried']) {
    super(tried.message);
    this.tried = tried;
  }
}

type HostCall<T> = Omit<Call, 'body' | 'headers'> & { what: string; body?: object; answer: z.ZodType<T> };
type HostOptions = { headers: Record<string, string>; clock: () => Date; signal: AbortSignal };

/** GitHub asks for this pause where it limits calls without saying for how long. */
const unsaidPauseMs = 60_000;
const hint: Record<number, string> = {
  401: 'the token is not valid',
  403: 'the token may lack a permission',
  404: 'it does not exist, or the token may not see it',
};

/**
 * Makes a call and parses its answer.
 *
 * @throws CallFailed
 */
export async function askHost<T>({ what, method, url, body, answer: schema }: HostCall<T>, options: HostOptions): Promise<T> {
  const { headers, clock, signal } = options;
  const json = body === undefined ? {} : { body: JSON.stringify(body) };
  const answer = await call({ method, url, headers: { 'content-type': 'application/json', ...headers }, ...json }, signal).catch(
    (error: unknown) => {
      signal.throwIfAborted();
      throw new CallFailed({ end: 'later', status: null, message: `${what}: ${faultOf(error)}`, until: null });
    },
  );
  const { status } = answer;
  if (status >= 200 && status < 300) {
    const parsed = schema.safeParse(answer.text === '' ? null : jsonOf(answer.text));
    if (parsed.success) return parsed.data;
    throw new CallFailed({
      end: 'later',
      status,
      message: `${what}: the answer is not that of a code host; check its address`,
      until: null,
    });
  }
  throw new CallFailed(failureOf(what, answer, clock()));
}

function failureOf(what: string, answer: CallAnswer, now: Date): CallFailed['tried'] {
  const { status } = answer;
  const said = messageOf(answer.text);
  const isLimit = status === 429 || (status === 403 && /rate limit|abuse/i.test(said ?? ''));
  const means = isLimit ? 'it limits calls' : hint[status];
  const why = [`HTTP ${status}`, ...(said === null ? [] : [said]), ...(means === undefined ? [] : [means])].join(', ');
  const message = `${what}: ${status >= 300 && status < 400 ? `HTTP ${status}, it has moved; redirects are not followed` : why}`;
  // Such as a commit or pull request that is gone for good, or too many statuses of a commit.
  if (status === 410 || status === 422) return { end: 'refused', status, message };
  // A permission that is missing, or a locked conversation, is one repository's, and must not hold back the reports of the others.
  return { end: 'later', status, message, until: pauseOf(answer, now) ?? (isLimit ? new Date(now.getTime() + unsaidPauseMs) : null) };
}

const errorBody = z.object({ message: z.union([z.string(), z.json()]) });
function messageOf(text: string): string | null {
  const parsed = errorBody.safeParse(jsonOf(text));
  if (!parsed.success) return null;
  const { message } = parsed.data;
  return firstOf(cleanText(typeof message === 'string' ? message : JSON.stringify(message)), 200);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

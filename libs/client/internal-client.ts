import {
  type AttemptSpec,
  attemptSpec,
  CairnError,
  type ClaimRequest,
  claimRequest,
  type FinishRequest,
  finishRequest,
  protocol,
  protocolHeader,
  type ReportReply,
  type ReportRequest,
  reportReply,
  reportRequest,
  type ShardClaim,
  type ShardCommit,
  type StagedFilesPage,
  type StartRequest,
  shardClaim,
  shardCommit,
  stagedFilesPage,
  startRequest,
} from '@cairn/contract';
import { z } from 'zod';
import { type Call, createRequester } from './request.ts';
import { delayAfter, wait } from './wait.ts';

export type InternalClientOptions = {
  /** Addresses of the control plane's internal port; they are tried one after another. */
  urls: readonly string[];
  attemptId: string;
  generation: number;
  /** The attempt's token. */
  token: string;
  /** Ends every call that waits for the control plane to come back. */
  signal: AbortSignal;
  fetch?: typeof fetch;
  /** Time limit of one try. */
  timeoutMs?: number;
  /** Called for every failed try that is repeated after `delayMs`. */
  onRetry?: (retry: { failures: number; delayMs: number; error: unknown }) => void;
};

const timeoutMs = 15_000;
const maxDelayMs = 5_000;

const nothing = z.object({});

export type InternalClient = {
  spec(): Promise<AttemptSpec>;
  start(request: StartRequest): Promise<void>;
  report(request: ReportRequest): Promise<ReportReply>;
  claimShard(request: ClaimRequest): Promise<ShardClaim>;
  commitShard(index: number, commit: ShardCommit): Promise<void>;
  releaseShard(index: number): Promise<void>;
  /** For an attempt that finalizes: the staged files of the shards from shard `from` on. */
  stagedFiles(from: number): Promise<StagedFilesPage>;
  finish(request: FinishRequest): Promise<void>;
};

/**
 * The calls of one attempt to /internal/v1. A control plane that is away, overloaded or broken is waited for without
 * limit: every call can be repeated, and a process that has trained for days must not stop because the control plane restarts.
 * A refusal by the control plane (`superseded`, `lease_lost`, any problem with a status of 400 to 499) is thrown as a
 * CairnError with the problem's code; an abort as the signal's reason.
 */
export function createInternalClient(options: InternalClientOptions): InternalClient {
  const { urls, token, signal } = options;
  if (urls.length === 0) throw new CairnError('invalid_configuration', 'The agent has no address of the control plane');
  const requesters = urls.map((url) => createRequester({ url, token, fetch: options.fetch ?? fetch, tries: 1 }));
  const headers = { 'x-cairn-generation': String(options.generation), [protocolHeader]: String(protocol) };
  /** The address that answered last, so that one that is away is not called first every time. */
  let at = 0;

  async function call<T>(
    method: 'GET' | 'POST',
    path: readonly string[],
    answer: z.ZodType<T>,
    body?: unknown,
    query: Record<string, number> = {},
  ): Promise<T> {
    const request: Call<T> = {
      method,
      path: ['internal', 'v1', 'attempts', options.attemptId, ...path],
      headers,
      query,
      repeatable: true,
      answer,
      ...(body === undefined ? {} : { body }),
    };
    for (let failures = 1; ; failures += 1) {
      signal.throwIfAborted();
      try {
        const requester = requesters[at % requesters.length];
        if (requester === undefined) throw new RangeError('no address');
        return await requester.send(request, { signal, timeoutMs: options.timeoutMs ?? timeoutMs });
      } catch (error) {
        if (signal.aborted || !isPassing(error)) throw error;
        at = (at + 1) % requesters.length;
        // The other addresses are called at once; the client waits only when all have failed.
        const delayMs = failures % requesters.length === 0 ? delayAfter(error, failures / requesters.length, maxDelayMs) : 0;
        options.onRetry?.({ failures, delayMs, error });
        await wait(delayMs, signal);
      }
    }
  }

  return {
    spec: () => call('GET', [], attemptSpec),
    start: async (request) => void (await call('POST', ['start'], nothing, fitting(startRequest, request))),
    report: async (request) => call('POST', ['reports'], reportReply, fitting(reportRequest, request)),
    claimShard: async (request) => call('POST', ['shards', 'claim'], shardClaim, fitting(claimRequest, request)),
    commitShard: async (index, commit) =>
      void (await call('POST', ['shards', String(index), 'commit'], nothing, fitting(shardCommit, commit))),
    releaseShard: async (index) => void (await call('POST', ['shards', String(index), 'release'], nothing, {})),
    stagedFiles: (from) => call('GET', ['shards', 'files'], stagedFilesPage, undefined, { from }),
    finish: async (request) => void (await call('POST', ['finish'], nothing, fitting(finishRequest, request))),
  };
}

/**
 * The request to send: text from programs cleaned and cut, and nothing that the control plane would refuse.
 *
 * @throws CairnError `invalid_request`, as the control plane would answer
 */
function fitting<T>(schema: z.ZodType<T>, request: T): T {
  const parsed = schema.safeParse(request);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? 'it' : issue.path.map(String).join('.');
  throw new CairnError('invalid_request', `The request does not match its schema: ${where}: ${issue?.message}`, { cause: parsed.error });
}

/**
 * True for errors that may pass: no connection, 5xx, 408, 429, and every refusal without a problem document,
 * which comes from a proxy, or from another program that has the port while the control plane restarts.
 */
function isPassing(error: unknown): boolean {
  if (!(error instanceof CairnError)) return false;
  const { status, requestId, unreachable } = error.details;
  if (unreachable === true) return true;
  if (typeof status !== 'number') return false;
  return status >= 500 || status === 408 || status === 429 || typeof requestId !== 'string';
}

import { catalogueCalls, serviceCalls } from './catalogue-calls.ts';
import { type EventStreamOptions, type StreamMessage, streamEvents } from './event-stream.ts';
import { type FollowStepLogsOptions, followStepLogs, type StepLogPiece } from './follow-step-logs.ts';
import { createRequester } from './request.ts';
import { runCalls } from './run-calls.ts';

export type ClientOptions = {
  /** Address of the API, such as `http://127.0.0.1:8080`; a path prefix is kept. */
  url: string;
  token?: string | undefined;
  fetch?: typeof fetch | undefined;
  /** Tries of a call that may be repeated, the first included; 5 unless given. */
  tries?: number | undefined;
  /** Applied to every text of an answer but that of logs, for a reader that shows them: escapes what would act on it. */
  readText?: ((text: string) => string) | undefined;
};

/**
 * A client of Cairn's REST API: one method a call. Answers are parsed with the contract's schemas; a problem document
 * becomes a CairnError with its code, its detail as message, and `remedy`, `requestId` and `status` in `details`. Every
 * try has a limit of time; only calls that do no more when sent twice are repeated. Runs in Node and in browsers.
 */
export function createClient(options: ClientOptions) {
  const requester = createRequester({
    url: options.url,
    token: options.token,
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    tries: options.tries ?? 5,
    readText: options.readText,
  });
  const runs = runCalls(requester);
  return {
    url: requester.url,
    ...runs,
    ...catalogueCalls(requester),
    ...serviceCalls(requester),
    /** See {@link streamEvents}. */
    events: (stream: EventStreamOptions): AsyncGenerator<StreamMessage, void, void> => streamEvents(requester, stream),
    /** See {@link followStepLogs}. */
    followStepLogs: (follow: FollowStepLogsOptions): AsyncGenerator<StepLogPiece, void, void> => followStepLogs(runs, follow),
  };
}

export type CairnClient = ReturnType<typeof createClient>;

import { catalogueCalls, pictureCalls } from './catalogue-calls.ts';
import { deliveryCalls } from './delivery-calls.ts';
import { type EventStreamOptions, type StreamMessage, streamEvents } from './event-stream.ts';
import { type FollowStepLogsOptions, followStepLogs, type StepLogPiece } from './follow-logs.ts';
import { createRequester } from './request.ts';
import { runCalls } from './run-calls.ts';
import { scheduleCalls } from './schedule-calls.ts';
import { overviewCalls, serviceCalls } from './service-calls.ts';
import { triggerCalls } from './trigger-calls.ts';

export type ClientOptions = {
  /** Address of the API, such as `http://127.0.0.1:8080`; a path prefix is kept. */
  url: string;
  token?: string | undefined;
  fetch?: typeof fetch | undefined;
  /** Tries of a call that may be repeated, including the first; 5 by default. */
  tries?: number | undefined;
  /** Applied to every text of an answer except logs, for a reader that displays them: escapes control sequences. */
  readText?: ((text: string) => string) | undefined;
};

/**
 * A client of Cairn's REST API: one method per call. Answers are parsed with the contract's schemas; a problem document
 * becomes a CairnError with its code, its detail as message, and `remedy`, `requestId` and `status` in `details`. Every
 * try has a time limit; only idempotent calls are repeated. Runs in Node and in browsers.
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
    ...triggerCalls(requester),
    ...serviceCalls(requester),
    ...scheduleCalls(requester),
    ...deliveryCalls(requester),
    ...pictureCalls(requester),
    ...overviewCalls(requester),
    /** See {@link streamEvents}. */
    events: (stream: EventStreamOptions): AsyncGenerator<StreamMessage, void, void> => streamEvents(requester, stream),
    /** See {@link followStepLogs}. */
    followStepLogs: (follow: FollowStepLogsOptions): AsyncGenerator<StepLogPiece, void, void> => followStepLogs(runs, follow),
  };
}

export type CairnClient = ReturnType<typeof createClient>;

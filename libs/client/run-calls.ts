import {
  type annotateRequest,
  attemptFileList,
  attemptList,
  attemptView,
  attentionView,
  type cancelRequest,
  checkpointList,
  type gateRequest,
  judgement,
  judgementList,
  logLines,
  type logLinesQuery,
  logMatches,
  logPage,
  type logQuery,
  type logSearchQuery,
  type metricsQuery,
  metricsView,
  planView,
  type RunListItem,
  type retryRequest,
  runEventPage,
  type runListQuery,
  runPage,
  runTimeline,
  runView,
  type SubmitRequestInput,
  shardList,
  stepView,
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem, type Requester, type RequestOptions, randomKey, type SubmitOptions } from './request.ts';

type RunListQuery = Partial<z.output<typeof runListQuery>>;
/** Calls about runs, steps and attempts. */
export function runCalls({ open, send }: Requester) {
  const runs = ['v1', 'runs'] as const;
  const step = (runId: string, name: string) => [...runs, runId, 'steps', name] as const;
  const listRuns = (query: RunListQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: runs, query, repeatable: true, answer: runPage }, options);

  return {
    submitRun: (body: SubmitRequestInput, { idempotencyKey = randomKey(), ...options }: SubmitOptions = {}) =>
      send(
        { method: 'POST', path: runs, body, headers: { 'idempotency-key': idempotencyKey }, repeatable: true, answer: runView },
        options,
      ),

    /** What a submission would do: for each step whether it would run or be reused, and why. Changes nothing. */
    planRun: (body: SubmitRequestInput, options?: RequestOptions) =>
      send({ method: 'POST', path: runs, query: { dryRun: true }, body, repeatable: true, answer: planView }, options),

    listRuns,
    eachRun: (query: RunListQuery = {}, options?: RequestOptions): AsyncGenerator<RunListItem, void, void> =>
      eachItem((cursor) => listRuns(cursor === undefined ? query : { ...query, cursor }, options)),

    getRun: (runId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...runs, runId], repeatable: true, answer: runView }, options),

    /** Keeps the results of a run whatever the retention policy, or no longer. */
    pinRun: (runId: string, isPinned: boolean, options?: RequestOptions) =>
      send({ method: isPinned ? 'PUT' : 'DELETE', path: [...runs, runId, 'pin'], repeatable: true, answer: runView }, options),
    /** Changes the note and the tags of a run; without `ifNote` repeating it changes nothing. */
    annotateRun: (runId: string, body: z.input<typeof annotateRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: [...runs, runId, 'annotate'], body, repeatable: body.ifNote === undefined, answer: runView }, options),
    /** Lets a held run start. */
    releaseRun: (runId: string, options?: RequestOptions) =>
      send({ method: 'POST', path: [...runs, runId, 'release'], repeatable: false, answer: runView }, options),

    cancelRun: (runId: string, body: z.input<typeof cancelRequest> = {}, options?: RequestOptions) =>
      send({ method: 'POST', path: [...runs, runId, 'cancel'], body, repeatable: false, answer: runView }, options),

    retryRun: (runId: string, body: z.input<typeof retryRequest> = {}, options?: RequestOptions) =>
      send({ method: 'POST', path: [...runs, runId, 'retry'], body, repeatable: false, answer: runView }, options),

    /** Judges a run that succeeded, and stores the verdict. */
    judgeRun: (runId: string, body: z.input<typeof gateRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: [...runs, runId, 'gate'], body, repeatable: false, answer: judgement }, options),
    listJudgements: (runId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...runs, runId, 'judgements'], repeatable: true, answer: judgementList }, options),

    /** When its steps and attempts waited and ran. */
    getTimeline: (runId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...runs, runId, 'timeline'], repeatable: true, answer: runTimeline }, options),

    /** What needs a person: failed runs, steps that wait for a long time, sick nodes. */
    getAttention: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'attention'], repeatable: true, answer: attentionView }, options),

    /** The run's history after sequence number `after`, or the last events before `before`, oldest first. */
    listRunEvents: (
      runId: string,
      query: { after?: number; before?: number; step?: string; limit?: number } = {},
      options?: RequestOptions,
    ) => send({ method: 'GET', path: [...runs, runId, 'events'], query, repeatable: true, answer: runEventPage }, options),

    getStep: (runId: string, name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: step(runId, name), repeatable: true, answer: stepView }, options),

    listAttempts: (runId: string, name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...step(runId, name), 'attempts'], repeatable: true, answer: attemptList }, options),

    getMetrics: (runId: string, name: string, query: Partial<z.output<typeof metricsQuery>> = {}, options?: RequestOptions) =>
      send({ method: 'GET', path: [...step(runId, name), 'metrics'], query, repeatable: true, answer: metricsView }, options),

    /** The stored checkpoints of a training stage, newest first, those whose files were removed as well. */
    listCheckpoints: (runId: string, name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: [...step(runId, name), 'checkpoints'], repeatable: true, answer: checkpointList }, options),

    /** At most 1,000, from shard `from` on. */
    listShards: (runId: string, name: string, query: { from?: number } = {}, options?: RequestOptions) =>
      send({ method: 'GET', path: [...step(runId, name), 'shards'], query, repeatable: true, answer: shardList }, options),

    getAttempt: (attemptId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'attempts', attemptId], repeatable: true, answer: attemptView }, options),

    listTensorBoardFiles: (attemptId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'attempts', attemptId, 'tensorboard'], repeatable: true, answer: attemptFileList }, options),

    /** The file's bytes as a stream; the caller must read or cancel it. One try. */
    openTensorBoardFile: (attemptId: string, name: string, signal: AbortSignal): Promise<Response> =>
      open(['v1', 'attempts', attemptId, 'tensorboard', name], undefined, {}, signal),

    readLog: (attemptId: string, query: Partial<z.output<typeof logQuery>> = {}, options: RequestOptions = {}) =>
      send(
        { method: 'GET', path: ['v1', 'attempts', attemptId, 'logs'], query, repeatable: true, answer: logPage, isVerbatim: true },
        // The server holds the answer for up to `waitSeconds`.
        { ...options, timeoutMs: options.timeoutMs ?? 30_000 + (query.waitSeconds ?? 0) * 1000 },
      ),

    /** Lines of a log by number, from a byte offset on, or the last ones. */
    readLogLines: (attemptId: string, query: Partial<z.output<typeof logLinesQuery>> = {}, options?: RequestOptions) =>
      send(
        {
          method: 'GET',
          path: ['v1', 'attempts', attemptId, 'logs', 'lines'],
          query,
          repeatable: true,
          answer: logLines,
          isVerbatim: true,
        },
        options,
      ),

    searchLog: (
      attemptId: string,
      query: Pick<z.output<typeof logSearchQuery>, 'q'> & Partial<z.output<typeof logSearchQuery>>,
      options?: RequestOptions,
    ) =>
      send(
        {
          ...{ method: 'GET', path: ['v1', 'attempts', attemptId, 'logs', 'search'], query },
          ...{ repeatable: true, answer: logMatches, isVerbatim: true },
        },
        options,
      ),
  };
}

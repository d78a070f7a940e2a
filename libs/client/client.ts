import {
  type AliasMoveView,
  type AuditQuery,
  type aliasChange,
  aliasList,
  aliasMovePage,
  type aliasRequest,
  artifactView,
  attemptFileList,
  attemptList,
  attemptView,
  attentionView,
  auditPage,
  budgetList,
  type budgetRequest,
  type cancelRequest,
  checkpointList,
  type comparisonQuery,
  comparisonView,
  type DatasetView,
  datasetPage,
  type datasetRequest,
  datasetView,
  evaluationView,
  fleetView,
  type gateQuery,
  type gateRequest,
  type gcRequest,
  gcResult,
  judgement,
  judgementList,
  type LedgerRow,
  ledgerPage,
  type ledgerQuery,
  logLines,
  type logLinesQuery,
  logMatches,
  logPage,
  type logQuery,
  type logSearchQuery,
  type ModelView,
  type metricsQuery,
  metricsView,
  meView,
  modelCard,
  modelPage,
  planView,
  type QueryScoreRow,
  queryScorePage,
  type queryScoresQuery,
  type RunListItem,
  recipeList,
  recipeView,
  type retentionPolicy,
  retentionView,
  type retryRequest,
  runEventPage,
  type runListQuery,
  runPage,
  runTimeline,
  runView,
  type SubmitRequestInput,
  secretKeyList,
  shardList,
  stepView,
  tokenCreated,
  tokenList,
  type tokenRequest,
  versionView,
  type WeightsView,
  weightsPage,
  type weightsQuery,
  weightsView,
} from '@cairn/contract';
import type { z } from 'zod';
import { deliveryCalls } from './delivery-calls.ts';
import { type EventStreamOptions, type StreamMessage, streamEvents } from './event-stream.ts';
import { type FollowStepLogsOptions, followStepLogs, type StepLogPiece } from './follow-logs.ts';
import { overviewCalls } from './overview-calls.ts';
import { pictureCalls } from './picture-calls.ts';
import { createRequester, eachItem, type Requester, type RequestOptions, randomKey, type SubmitOptions, statusAlone } from './request.ts';
import { scheduleCalls } from './schedule-calls.ts';
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

type PageQuery = { limit?: number; cursor?: string };
type ComparisonInput = Pick<z.output<typeof comparisonQuery>, 'a' | 'b'> & Partial<z.output<typeof comparisonQuery>>;
type LedgerInput = Partial<z.output<typeof ledgerQuery>>;
type QueryScoresInput = Pick<z.output<typeof queryScoresQuery>, 'of'> & Partial<z.output<typeof queryScoresQuery>>;

/** Calls about datasets, recipes, weights, models and artifacts. */
function catalogueCalls({ send, open }: Requester) {
  const listDatasets = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'datasets'], query, repeatable: true, answer: datasetPage }, options);
  const listModels = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models'], query, repeatable: true, answer: modelPage }, options);
  const listModelVersions = (name: string, query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'models', name], query, repeatable: true, answer: modelPage }, options);
  const aliasPath = (model: string, ...rest: string[]) => ['v1', 'models', model, 'aliases', ...rest];
  const listAliasMoves = (model: string, alias: string, query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: aliasPath(model, alias, 'moves'), query, repeatable: true, answer: aliasMovePage }, options);
  const listWeights = (query: PageQuery = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'weights'], query, repeatable: true, answer: weightsPage }, options);
  const listQueryScores = (query: QueryScoresInput, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'evaluation', 'queries'], query, repeatable: true, answer: queryScorePage }, options);
  const withCursor = (cursor: string | undefined): PageQuery => (cursor === undefined ? {} : { cursor });

  return {
    /** Registers where a collection is. The same name and source again changes nothing, so a failed try is repeated. */
    addDataset: (body: z.input<typeof datasetRequest>, options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'datasets'], body, repeatable: true, answer: datasetView },
        // The digest of a folder is over its listing: minutes for millions of files.
        { ...options, timeoutMs: options.timeoutMs ?? 15 * 60_000 },
      ),
    listDatasets,
    eachDataset: (options?: RequestOptions): AsyncGenerator<DatasetView, void, void> =>
      eachItem((cursor) => listDatasets(withCursor(cursor), options)),
    /** The newest version of a dataset, or the one of `name@version`. */
    getDataset: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'datasets', name], repeatable: true, answer: datasetView }, options),

    listRecipes: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'recipes'], repeatable: true, answer: recipeList }, options),
    getRecipe: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'recipes', name], repeatable: true, answer: recipeView }, options),

    /** Imports a file of tensors under a name. The same file again changes nothing, so a failed try is repeated. */
    importWeights: (name: string, description: z.input<typeof weightsQuery>, file: Blob, options: RequestOptions = {}) =>
      send(
        { method: 'PUT', path: ['v1', 'weights', name], query: description, octets: file, repeatable: true, answer: weightsView },
        // At least 1 MB per second.
        { ...options, timeoutMs: options.timeoutMs ?? 60_000 + Math.ceil(file.size / 1000) },
      ),
    listWeights,
    eachWeights: (options?: RequestOptions): AsyncGenerator<WeightsView, void, void> =>
      eachItem((cursor) => listWeights(withCursor(cursor), options)),
    getWeights: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'weights', name], repeatable: true, answer: weightsView }, options),
    /** Removes the name; the file is removed by the next gc when no run refers to it. */
    removeWeights: async (name: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: ['v1', 'weights', name], repeatable: false, answer: statusAlone }, options);
    },

    listModels,
    eachModel: (options?: RequestOptions): AsyncGenerator<ModelView, void, void> =>
      eachItem((cursor) => listModels(withCursor(cursor), options)),
    listModelVersions,
    eachModelVersion: (name: string, options?: RequestOptions): AsyncGenerator<ModelView, void, void> =>
      eachItem((cursor) => listModelVersions(name, withCursor(cursor), options)),

    listAliases: (model: string, options?: RequestOptions) =>
      send({ method: 'GET', path: aliasPath(model), repeatable: true, answer: aliasList }, options),
    /** Repeating it changes nothing. */
    setAlias: (model: string, alias: string, body: z.input<typeof aliasRequest>, options?: RequestOptions) =>
      send({ method: 'PUT', path: aliasPath(model, alias), body, repeatable: body.ifVersion === undefined, answer: aliasList }, options),
    rollBackAlias: (model: string, alias: string, body: z.input<typeof aliasChange>, options?: RequestOptions) =>
      send({ method: 'POST', path: aliasPath(model, alias, 'rollback'), body, repeatable: false, answer: aliasList }, options),
    removeAlias: (model: string, alias: string, query: z.input<typeof aliasChange>, options?: RequestOptions) =>
      send({ method: 'DELETE', path: aliasPath(model, alias), query, repeatable: false, answer: aliasList }, options),
    listAliasMoves,
    eachAliasMove: (model: string, alias: string, options?: RequestOptions): AsyncGenerator<AliasMoveView, void, void> =>
      eachItem((cursor) => listAliasMoves(model, alias, withCursor(cursor), options)),
    /** The evaluation that a reference names, such as RUN, RUN/STEP or MODEL@VERSION. */
    getEvaluation: (of: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'evaluation'], query: { of }, repeatable: true, answer: evaluationView }, options),
    listQueryScores,
    eachQueryScore: (query: QueryScoresInput, options?: RequestOptions): AsyncGenerator<QueryScoreRow, void, void> =>
      eachItem((cursor) => listQueryScores({ ...query, ...withCursor(cursor) }, options)),
    /** Tries a gate on an evaluation; nothing is stored. */
    tryGate: (query: z.output<typeof gateQuery>, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'gate'], query, repeatable: true, answer: judgement }, options),
    compareEvaluations: (query: ComparisonInput, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'comparison'], query, repeatable: true, answer: comparisonView }, options),

    getArtifact: (artifactId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'artifacts', artifactId], repeatable: true, answer: artifactView }, options),
    /** A file of a model from a byte on, as a stream; the caller must read or cancel it. One try. */
    openArtifactFile: (artifactId: string, file: string, { from, signal }: { from: number; signal: AbortSignal }): Promise<Response> =>
      open(['v1', 'artifacts', artifactId, 'files', file], undefined, from > 0 ? { range: `bytes=${from}-` } : {}, signal),
    /** The card of MODEL@VERSION or MODEL@ALIAS. */
    getModelCard: (reference: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'models', reference, 'card'], repeatable: true, answer: modelCard, isVerbatim: true }, options),
    /** The same as Markdown. One try. */
    readModelCard: async (reference: string, { signal }: { signal: AbortSignal }): Promise<string> =>
      (await open(['v1', 'models', reference, 'card.md'], undefined, {}, signal)).text(),
  };
}

/** Calls about the service itself: fleet, tokens, audit, garbage collection, health. */
function serviceCalls({ send }: Requester) {
  const listAudit = (query: Partial<AuditQuery> = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'audit'], query, repeatable: true, answer: auditPage }, options);
  const readLedger = (query: LedgerInput = {}, options?: RequestOptions) =>
    send({ method: 'GET', path: ['v1', 'ledger'], query, repeatable: true, answer: ledgerPage }, options);

  return {
    /** The build of the dashboard that the service serves now. Only with one. */
    getVersion: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['version.json'], repeatable: true, answer: versionView }, options),
    /** Who calls: the name and the role of the token, and what it may do. */
    getMe: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'me'], repeatable: true, answer: meView }, options),
    /** In a browser: exchanges a token for a cookie, which every call then carries. */
    startSession: async (token: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'POST', path: ['v1', 'session'], body: { token }, repeatable: false, answer: statusAlone }, options);
    },
    endSession: async (options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: ['v1', 'session'], repeatable: false, answer: statusAlone }, options);
    },

    getFleet: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'fleet'], repeatable: true, answer: fleetView }, options),

    listTokens: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'tokens'], repeatable: true, answer: tokenList }, options),
    /** Only the answer has the secret; it is never shown again, so a failed try is not repeated. */
    createToken: (body: z.input<typeof tokenRequest>, options?: RequestOptions) =>
      send({ method: 'POST', path: ['v1', 'tokens'], body, repeatable: false, answer: tokenCreated }, options),
    revokeToken: async (tokenId: string, options?: RequestOptions): Promise<void> => {
      await send({ method: 'DELETE', path: ['v1', 'tokens', tokenId], repeatable: false, answer: statusAlone }, options);
    },

    /** Which keys seal the stored secrets, and how many. */
    listSecretKeys: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'secrets'], repeatable: true, answer: secretKeyList }, options),
    /** Seals all secrets with the newest key. */
    resealSecrets: (options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'secrets', 'reseal'], repeatable: true, answer: secretKeyList },
        { ...options, timeoutMs: options.timeoutMs ?? 5 * 60_000 },
      ),

    listAudit,
    eachAuditEntry: (query: Partial<AuditQuery> = {}, options?: RequestOptions) =>
      eachItem((cursor) => listAudit(cursor === undefined ? query : { ...query, cursor }, options)),

    /** GPU time of a period by one property of the attempts, those that held most first. */
    readLedger,
    getRetention: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'retention'], repeatable: true, answer: retentionView }, options),
    /** Replaces the policy. Repeating it changes nothing. */
    setRetention: (body: z.input<typeof retentionPolicy>, options?: RequestOptions) =>
      send({ method: 'PUT', path: ['v1', 'retention'], body, repeatable: true, answer: retentionView }, options),
    listBudgets: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'budgets'], repeatable: true, answer: budgetList }, options),
    /** Sets or changes the budget of `owner:NAME` or `label:KEY=VALUE`. Repeating it changes nothing. */
    setBudget: (scope: string, body: z.input<typeof budgetRequest>, options?: RequestOptions) =>
      send({ method: 'PUT', path: ['v1', 'budgets', scope], body, repeatable: true, answer: budgetList }, options),
    removeBudget: (scope: string, options?: RequestOptions) =>
      send({ method: 'DELETE', path: ['v1', 'budgets', scope], repeatable: false, answer: budgetList }, options),
    eachLedgerRow: (query: LedgerInput, options?: RequestOptions): AsyncGenerator<LedgerRow, void, void> =>
      eachItem((cursor) => readLedger(cursor === undefined ? query : { ...query, cursor }, options)),

    /** Removes artifacts that no run refers to and the staging of attempts that are over. */
    collectGarbage: (body: z.input<typeof gcRequest> = {}, options: RequestOptions = {}) =>
      send(
        { method: 'POST', path: ['v1', 'gc'], body, repeatable: false, answer: gcResult },
        { ...options, timeoutMs: options.timeoutMs ?? 5 * 60_000 },
      ),

    /** Resolves when every part that the API needs answers; throws `unavailable` naming the one that does not. */
    checkReady: async (options?: RequestOptions): Promise<void> => {
      await send({ method: 'GET', path: ['readyz'], repeatable: false, answer: statusAlone }, options);
    },
  };
}

type RunListQuery = Partial<z.output<typeof runListQuery>>;
/** Calls about runs, steps and attempts. */
function runCalls({ open, send }: Requester) {
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

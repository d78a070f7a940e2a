import {
  type AuditQuery,
  auditPage,
  budgetList,
  type budgetRequest,
  datasetUsage,
  fleetView,
  fleetWork,
  type gcRequest,
  gcResult,
  type LedgerRow,
  ledgerPage,
  type ledgerQuery,
  lineage,
  meView,
  type retentionPolicy,
  retentionView,
  runComparison,
  secretKeyList,
  tokenCreated,
  tokenList,
  type tokenRequest,
  versionView,
  viewList,
  type viewRequest,
} from '@cairn/contract';
import type { z } from 'zod';
import { eachItem, type Requester, type RequestOptions, statusAlone } from './request.ts';

type LedgerInput = Partial<z.output<typeof ledgerQuery>>;

/** Calls about the service itself: fleet, tokens, audit, garbage collection, health. */
export function serviceCalls({ send, open }: Requester) {
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

    /** The caller's saved views, and those that others share. */
    listViews: (options?: RequestOptions) => send({ method: 'GET', path: ['v1', 'views'], repeatable: true, answer: viewList }, options),
    /** Saves or changes a view of the caller. Repeating it changes nothing. */
    saveView: (name: string, body: z.input<typeof viewRequest>, options?: RequestOptions) =>
      send({ method: 'PUT', path: ['v1', 'views', name], body, repeatable: true, answer: viewList }, options),
    removeView: (name: string, query: { owner?: string } = {}, options?: RequestOptions) =>
      send({ method: 'DELETE', path: ['v1', 'views', name], query, repeatable: false, answer: viewList }, options),

    listAudit,
    eachAuditEntry: (query: Partial<AuditQuery> = {}, options?: RequestOptions) =>
      eachItem((cursor) => listAudit(cursor === undefined ? query : { ...query, cursor }, options)),

    /** GPU time of a period by one property of the attempts, those that held most first. */
    readLedger,
    /** All lines of it as CSV; the caller must read or cancel the stream. One try. */
    readLedgerCsv: async (query: Omit<LedgerInput, 'limit' | 'cursor'>, { signal }: { signal: AbortSignal }) =>
      (await open(['v1', 'ledger.csv'], query, {}, signal)).body ?? new ReadableStream<Uint8Array<ArrayBuffer>>(),
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

/** Calls that show several things together: what differs between runs, what was made from what, who waits for whom. */
export function overviewCalls({ send }: Requester) {
  return {
    /** What was made from a dataset: lists with their counts, runs, models. */
    getDatasetUsage: (name: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'datasets', name, 'usage'], repeatable: true, answer: datasetUsage }, options),

    /** What a version of a model was made from: NAME, NAME@VERSION or NAME@ALIAS. */
    getModelLineage: (reference: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'models', reference, 'lineage'], repeatable: true, answer: lineage }, options),

    /** Who holds slots, what waits for them and why, and the queues. */
    getFleetWork: (options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'fleet', 'work'], repeatable: true, answer: fleetWork }, options),

    /** Two to eight runs: what differs in their settings, and the outcomes of their steps. */
    compareRuns: (runIds: readonly string[], options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'runs', 'comparison'], query: { run: runIds }, repeatable: true, answer: runComparison }, options),

    /** What the run was made from. */
    getRunLineage: (runId: string, options?: RequestOptions) =>
      send({ method: 'GET', path: ['v1', 'runs', runId, 'lineage'], repeatable: true, answer: lineage }, options),
  };
}

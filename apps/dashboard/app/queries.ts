import type { CairnClient } from '@cairn/client';
import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import type { AuditSearch } from '../pages/admin/audit-search.ts';
import type { HookDeliveriesSearch, OutgoingSearch } from '../pages/automation/automation-search.ts';
import { type EvaluationSearch, orderOfSearch } from '../pages/evaluation/evaluation-search.ts';
import { type LedgerSearch, ledgerRequest } from '../pages/ledger/ledger-search.ts';
import { pageQuery } from '../parts/page-search.ts';
import { keys } from './query-keys.ts';

// What the pages ask for first. The loader of a route asks while the code of its page is loaded; the page shows the answer.

export const meQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.me, queryFn: ({ signal }) => client.getMe({ signal }), staleTime: 60_000 });

export const runQuery = (client: CairnClient, runId: string) =>
  queryOptions({ queryKey: keys.run(runId), queryFn: ({ signal }) => client.getRun(runId, { signal }) });

export const fleetQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.fleet, queryFn: ({ signal }) => client.getFleet({ signal }) });

export const fleetWorkQuery = (client: CairnClient) =>
  queryOptions({ queryKey: [...keys.fleet, 'work'], queryFn: ({ signal }) => client.getFleetWork({ signal }) });

/** The newest version of every model, or the versions of the one that is named. */
export const modelsQuery = (client: CairnClient, name: string | null, cursor: string | undefined) =>
  queryOptions({
    queryKey: [...keys.models, name, 'page', cursor],
    queryFn: ({ signal }) =>
      name === null ? client.listModels(pageQuery(cursor), { signal }) : client.listModelVersions(name, pageQuery(cursor), { signal }),
  });

export const datasetsQuery = (client: CairnClient, cursor: string | undefined) =>
  queryOptions({
    queryKey: [...keys.datasets, 'page', cursor],
    queryFn: ({ signal }) => client.listDatasets(pageQuery(cursor), { signal }),
  });

export const datasetQuery = (client: CairnClient, name: string) =>
  queryOptions({ queryKey: [...keys.datasets, name, 'usage'], queryFn: ({ signal }) => client.getDatasetUsage(name, { signal }) });

export const schedulesQuery = (client: CairnClient, cursor: string | undefined) =>
  queryOptions({ queryKey: [...keys.schedules, cursor], queryFn: ({ signal }) => client.listSchedules(pageQuery(cursor), { signal }) });

export const triggersQuery = (client: CairnClient, cursor: string | undefined) =>
  queryOptions({ queryKey: [...keys.triggers, cursor], queryFn: ({ signal }) => client.listTriggers(pageQuery(cursor), { signal }) });

export const triggerQuery = (client: CairnClient, name: string) =>
  queryOptions({ queryKey: [...keys.triggers, 'one', name], queryFn: ({ signal }) => client.getTrigger(name, { signal }) });

export const triggerDeliveriesQuery = (client: CairnClient, name: string, { cursor, ...filter }: HookDeliveriesSearch) =>
  queryOptions({
    queryKey: [...keys.triggers, 'one', name, 'deliveries', filter, cursor],
    queryFn: ({ signal }) => client.listDeliveries(name, { ...pageQuery(cursor), ...filter }, { signal }),
    placeholderData: keepPreviousData,
  });

export const retentionQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.retention, queryFn: ({ signal }) => client.getRetention({ signal }) });

export const comparisonQuery = (client: CairnClient, ids: readonly string[]) =>
  queryOptions({
    queryKey: [...keys.runs, 'comparison', ids],
    queryFn: ({ signal }) => client.compareRuns(ids, { signal }),
    placeholderData: keepPreviousData,
  });

export const recipesQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.recipes, queryFn: ({ signal }) => client.listRecipes({ signal }), staleTime: 60_000 });

export const recipeQuery = (client: CairnClient, name: string) =>
  queryOptions({ queryKey: [...keys.recipes, name], queryFn: ({ signal }) => client.getRecipe(name, { signal }), staleTime: 60_000 });

export const evaluationLineageQuery = (client: CairnClient, of: string) =>
  queryOptions({
    queryKey: keys.evaluation(of, 'lineage'),
    queryFn: ({ signal }) => client.getEvaluationLineage(of, { signal }),
  });

export const scoreDistributionQuery = (client: CairnClient, of: string, { against }: EvaluationSearch) =>
  queryOptions({
    queryKey: keys.evaluation(of, 'distribution', against),
    queryFn: ({ signal }) => client.getScoreDistribution({ of, against }, { signal }),
    placeholderData: keepPreviousData,
  });

/** Queries of a page: each has its picture and those of its first results. */
const queriesOfPage = 10;

export function queryScoresQuery(client: CairnClient, of: string, search: EvaluationSearch) {
  const { against, usage, query, cursor } = search;
  const asked = { of, against, sort: orderOfSearch(search), usage, query, limit: queriesOfPage, cursor };
  return queryOptions({
    queryKey: keys.evaluation(of, 'queries', asked),
    queryFn: ({ signal }) => client.listQueryScores(asked, { signal }),
    placeholderData: keepPreviousData,
  });
}

/** The newest version of every model, to choose from. */
export const newestModelsQuery = (client: CairnClient) =>
  queryOptions({ queryKey: [...keys.models, null, 'newest'], queryFn: ({ signal }) => client.listModels({ limit: 100 }, { signal }) });

export function ledgerQuery(client: CairnClient, search: LedgerSearch) {
  const query = { ...ledgerRequest(search), ...pageQuery(search.cursor) };
  return queryOptions({
    queryKey: [...keys.ledger, query],
    queryFn: ({ signal }) => client.readLedger(query, { signal }),
    placeholderData: keepPreviousData,
  });
}

export const budgetsQuery = (client: CairnClient) =>
  queryOptions({ queryKey: [...keys.ledger, 'budgets'], queryFn: ({ signal }) => client.listBudgets({ signal }) });

export const tokensQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.tokens, queryFn: ({ signal }) => client.listTokens({ signal }) });

export const auditQuery = (client: CairnClient, { cursor, ...filter }: AuditSearch) =>
  queryOptions({
    queryKey: [...keys.audit, filter, cursor],
    queryFn: ({ signal }) => client.listAudit({ ...pageQuery(cursor), ...filter }, { signal }),
    placeholderData: keepPreviousData,
  });

export const secretKeysQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.secrets, queryFn: ({ signal }) => client.listSecretKeys({ signal }) });

export const webhooksQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.webhooks, queryFn: ({ signal }) => client.listWebhooks({ signal }) });

export const webhookQuery = (client: CairnClient, name: string) =>
  queryOptions({ queryKey: [...keys.webhooks, name], queryFn: ({ signal }) => client.getWebhook(name, { signal }) });

export const webhookDeliveriesQuery = (client: CairnClient, name: string, { cursor, ...filter }: OutgoingSearch) =>
  queryOptions({
    queryKey: [...keys.webhooks, name, 'deliveries', filter, cursor],
    queryFn: ({ signal }) => client.listWebhookDeliveries(name, { ...pageQuery(cursor), ...filter }, { signal }),
    placeholderData: keepPreviousData,
  });

export const codeHostsQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.codeHosts, queryFn: ({ signal }) => client.listCodeHosts({ signal }) });

export const reportsQuery = (client: CairnClient, name: string, { cursor, ...filter }: OutgoingSearch) =>
  queryOptions({
    queryKey: [...keys.codeHosts, name, filter, cursor],
    queryFn: ({ signal }) => client.listReports(name, { ...pageQuery(cursor), ...filter }, { signal }),
    placeholderData: keepPreviousData,
  });

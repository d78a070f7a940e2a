import type { CairnClient } from '@cairn/client';
import { queryOptions } from '@tanstack/react-query';
import { pageQuery } from '../parts/page-search.ts';
import { keys } from './query-keys.ts';

// What the pages ask for first. The loader of a route asks while the code of its page is loaded; the page shows the answer.

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

export const retentionQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.retention, queryFn: ({ signal }) => client.getRetention({ signal }) });

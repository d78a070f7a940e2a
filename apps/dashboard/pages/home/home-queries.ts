import type { CairnClient } from '@cairn/client';
import { endedRunStates, liveRunStates } from '@cairn/contract';
import { queryOptions } from '@tanstack/react-query';
import { keys } from '../../app/query-keys.ts';

/** Runs of a list on the home page. */
const shown = 10;

export const attentionQuery = (client: CairnClient) =>
  queryOptions({ queryKey: keys.attention, queryFn: ({ signal }) => client.getAttention({ signal }) });

export const liveRunsQuery = (client: CairnClient) =>
  queryOptions({
    queryKey: [...keys.runs, 'live'],
    queryFn: ({ signal }) => client.listRuns({ state: liveRunStates, sort: '-updatedAt', limit: shown }, { signal }),
  });

export const endedRunsQuery = (client: CairnClient) =>
  queryOptions({
    queryKey: [...keys.runs, 'ended'],
    queryFn: ({ signal }) => client.listRuns({ state: endedRunStates, sort: '-updatedAt', limit: shown }, { signal }),
  });

import type { CairnClient } from '@cairn/client';
import { runListParameters } from '@cairn/contract';
import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { keys } from '../../app/query-keys.ts';
import type { RunsSearch } from './runs-search.ts';

/** Rows of a page: all of them are in the document, so few. */
export const pageSize = 50;

export type RunsFilter = Pick<RunsSearch, 'q' | 'state' | 'recipe' | 'owner' | 'label' | 'tag' | 'age' | 'sort' | 'cursor'>;

/** The part of the address that the api answers. */
export const filterOf = ({ q, state, recipe, owner, label, tag, age, sort, cursor }: RunsSearch): RunsFilter => ({
  q,
  state,
  recipe,
  owner,
  label,
  tag,
  age,
  sort,
  cursor,
});

/** The parameters of GET /v1/runs. */
export const parametersOf = ({ cursor, ...filter }: RunsFilter, now: number) => ({
  ...runListParameters(filter, now),
  ...(cursor === undefined ? {} : { cursor }),
  limit: pageSize,
});

/** One page of the table, in one request. The rows of the last page stay until the next has arrived. */
export const runsQuery = (client: CairnClient, filter: RunsFilter) =>
  queryOptions({
    queryKey: [...keys.runs, filter],
    queryFn: ({ signal }) => client.listRuns(parametersOf(filter, Date.now()), { signal }),
    placeholderData: keepPreviousData,
  });

import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useCallback, useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { useServices } from '../../app/services.ts';
import { CopyButton, CopyCall } from '../../parts/copy-call.tsx';
import { Icon } from '../../parts/icon.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './runs.module.css';
import { callsOf } from './runs-calls.ts';
import { RunsFilters } from './runs-filters.tsx';
import { RunsPages } from './runs-pages.tsx';
import { filterOf, runsQuery } from './runs-query.ts';
import { type ChangeSearch, type ChangeSelection, defaultColumns, filterKeys, maxSelected } from './runs-search.ts';
import { RunsSelection } from './runs-selection.tsx';
import { RunsTable } from './runs-table.tsx';
import { RunsViews } from './runs-views.tsx';
import { useSteadyRows } from './steady-rows.ts';

const selectionOf = (ids: readonly string[]) => (ids.length === 0 ? undefined : ids.slice(0, maxSelected));

export function RunsPage() {
  const search = useSearch({ from: '/signed-in/runs' });
  const navigate = useNavigate({ from: '/runs' });
  const { client } = useServices();
  const page = useQuery(runsQuery(client, filterOf(search)));
  useFollow('runs');
  useTitle('Runs');
  const maySubmit = useMay('run.submit');
  const [isHeld, setHeld] = useState(false);
  const { rows, moved } = useSteadyRows(
    page.data?.items ?? [],
    isHeld,
    page.isPlaceholderData || page.data === undefined ? null : JSON.stringify(filterOf(search)),
  );

  const change: ChangeSearch = (part, how) =>
    void navigate({ search: (old) => ({ ...old, ...part }), replace: how === 'replace', resetScroll: false });
  /** Another list starts with its first page. */
  const narrow: ChangeSearch = (part, how) => change({ ...part, cursor: undefined, page: undefined }, how);
  const select: ChangeSelection = useCallback(
    (update) =>
      void navigate({
        search: (old) => ({ ...old, selected: selectionOf(update(old.selected ?? [])) }),
        replace: true,
        resetScroll: false,
      }),
    [navigate],
  );
  const isFiltered = filterKeys.some((key) => search[key] !== undefined);
  const clear = () => narrow(Object.fromEntries(filterKeys.map((key) => [key, undefined])));

  return (
    <>
      <div className={classes.heading}>
        <h1>Runs</h1>
        <span className={classes.total} aria-live="polite">
          {page.data !== undefined && `${formatCount(page.data.total)}${isFiltered ? ' found' : ''}`}
        </span>
        <div className={classes.actions}>
          {maySubmit && (
            <Button renderRoot={(props) => <Link {...props} to="/submit" />} leftSection={<Icon name="play" size={12} />}>
              Submit a run
            </Button>
          )}
          <RunsViews search={search} />
          <CopyCall {...callsOf(filterOf(search))} />
        </div>
      </div>
      <RunsFilters search={search} narrow={narrow} change={change} clear={isFiltered ? clear : null} rows={rows} />
      {page.error !== null && <ProblemNotice error={page.error} onRetry={() => void page.refetch()} />}
      {page.data === undefined ? (
        page.error === null && <Loading />
      ) : rows.length === 0 ? (
        <Empty clear={isFiltered ? clear : null} />
      ) : (
        <>
          <RunsTable
            rows={rows}
            columns={search.column ?? defaultColumns}
            sort={search.sort}
            onSort={(sort) => narrow({ sort })}
            selected={search.selected ?? []}
            onSelect={select}
            onHold={setHeld}
            isLoading={page.isPlaceholderData}
          />
          <RunsSelection selected={search.selected ?? []} onSelect={select} rows={rows} />
          <RunsPages search={search} page={page.data} count={rows.length} moved={moved} />
        </>
      )}
    </>
  );
}

function Loading() {
  return (
    <div className={classes.loading} role="status" aria-label="Loading the runs">
      {Array.from({ length: 8 }, (_, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines of a drawing, which never change
        <div key={index} />
      ))}
    </div>
  );
}

const firstCommand = 'cairn submit --recipe mini';

function Empty({ clear }: { clear: (() => void) | null }) {
  return (
    <div className={classes.empty}>
      {clear === null ? (
        <>
          <h2>No runs yet</h2>
          <p>
            <code>{firstCommand}</code> <CopyButton text={firstCommand} />
          </p>
        </>
      ) : (
        <>
          <h2>No run matches</h2>
          <Button variant="default" onClick={clear}>
            Clear the filters
          </Button>
        </>
      )}
    </div>
  );
}

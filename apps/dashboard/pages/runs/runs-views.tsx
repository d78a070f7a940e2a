import { addressQuery, runFilter, type SavedView, whyNotOwner } from '@cairn/contract';
import { Button, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay, useMe } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { stringifySearch } from '../../app/search.ts';
import { useServices } from '../../app/services.ts';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { Dropdown } from '../../parts/dropdown.tsx';
import { Icon } from '../../parts/icon.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import classes from './runs.module.css';
import { type RunsSearch, runsSearch } from './runs-search.ts';

/** What a view keeps of the address: filters, order and columns, and not the page or the selection. */
const queryOf = (search: RunsSearch): string => stringifySearch({ ...runFilter.parse(search), column: search.column }).slice(1);

/** Saved views of this page: the caller's, and those that others share. They are read when the list is opened. */
export function RunsViews({ search }: { search: RunsSearch }) {
  const { client, queries } = useServices();
  const me = useMe().data;
  const [isOpen, setOpen] = useState(false);
  const [asks, setAsks] = useState(false);
  const views = useQuery({ queryKey: keys.views, queryFn: ({ signal }) => client.listViews({ signal }), enabled: isOpen });
  const remove = useMutation({
    mutationFn: ({ name, owner }: SavedView) => client.removeView(name, owner === me?.tokenName ? {} : { owner }),
    onSuccess: (list) => queries.setQueryData(keys.views, list),
  });
  const query = queryOf(search);
  const items = views.data?.items.filter(({ page }) => page === 'runs') ?? [];
  const error = views.error ?? remove.error;
  return (
    <>
      <Dropdown label="Views" onOpen={() => setOpen(true)}>
        {error !== null && <ProblemNotice error={error} />}
        {views.data !== undefined && items.length === 0 && <p className={classes.noViews}>No view is saved yet.</p>}
        <ul className={classes.views} aria-label="Saved views">
          {items.map((view) => (
            <li key={`${view.owner} ${view.name}`}>
              <Link to="/runs" search={runsSearch.parse(addressQuery(view.query))}>
                {view.name}
              </Link>
              <span className={classes.viewOwner}>{view.owner === me?.tokenName ? view.isShared && 'shared' : `of ${view.owner}`}</span>
              {me !== undefined && whyNotOwner(view.owner, { name: me.tokenName, role: me.role }) === null && (
                <Button
                  variant="subtle"
                  size="compact-xs"
                  aria-label={`Remove the view ${view.name}`}
                  title={`Remove the view ${view.name}`}
                  onClick={() => remove.mutate(view)}
                >
                  <Icon name="cross" size={12} />
                </Button>
              )}
            </li>
          ))}
        </ul>
        <Button variant="default" fullWidth onClick={() => setAsks(true)}>
          Save this view …
        </Button>
      </Dropdown>
      {asks && <SaveDialog query={query} taken={views.data?.items ?? []} onClose={() => setAsks(false)} />}
    </>
  );
}

function SaveDialog({ query, taken, onClose }: { query: string; taken: readonly SavedView[]; onClose: () => void }) {
  const { client, queries } = useServices();
  const mayShare = useMay('view.share');
  const me = useMe().data;
  const [name, setName] = useState('');
  const [isShared, setShared] = useState(false);
  const save = useMutation({
    mutationFn: () => client.saveView(name.trim(), { page: 'runs', query, isShared }),
    onSuccess: (list) => {
      queries.setQueryData(keys.views, list);
      onClose();
    },
  });
  const replaced = taken.find((view) => view.owner === me?.tokenName && view.name === name.trim());
  return (
    <ConfirmDialog
      title="Save this view"
      action={replaced === undefined ? 'Save' : replaced.page === 'runs' ? 'Replace the view' : `Replace the view of ${replaced.page}`}
      isBusy={save.isPending}
      error={save.error}
      onConfirm={() => save.mutate()}
      onClose={onClose}
    >
      <p>It keeps the search, the filters, the order and the columns of this table.</p>
      <TextInput label="Name" required maxLength={60} value={name} onChange={(event) => setName(event.currentTarget.value)} />
      {mayShare && (
        <p>
          <label>
            <input type="checkbox" checked={isShared} onChange={(event) => setShared(event.currentTarget.checked)} /> Everyone sees it
          </label>
        </p>
      )}
    </ConfirmDialog>
  );
}

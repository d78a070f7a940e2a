import { VisuallyHidden } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useNavigate, useRouter } from '@tanstack/react-router';
import { type KeyboardEvent, useEffect, useId, useRef, useState } from 'react';
import { Icon, type IconName } from '../parts/icon.tsx';
import { runLooks } from '../parts/looks.ts';
import { useMe } from './me.ts';
import classes from './palette.module.css';
import { keys } from './query-keys.ts';
import { useServices } from './services.ts';

const typingPauseMs = 150;
/** Found runs, views, models and datasets of each kind. */
const most = 8;
/** Models and datasets are few: the first of them are searched here. */
const searched = 200;

type Entry = { key: string; kind: string; icon: IconName; text: string; note: string; open: () => void };

/** Ctrl+K: one field that jumps to a page, a saved view, a run by its name, tags or note, a model or a dataset. */
export default function Palette({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState('');
  const [active, setActive] = useState(0);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  const entries = useEntries(text.trim());
  const current = Math.min(active, entries.length - 1);

  const choose = (entry: Entry | undefined): void => {
    if (entry === undefined) return;
    dialog.current?.close();
    entry.open();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (step !== 0) setActive((Math.max(0, current) + step + entries.length) % Math.max(1, entries.length));
    else if (event.key === 'Enter') choose(entries[current]);
    else return;
    event.preventDefault();
  };
  return (
    <dialog
      ref={dialog}
      className={classes.dialog}
      aria-label="Go to"
      onClose={onClose}
      // A click beside it closes it.
      onPointerDown={(event) => event.target === event.currentTarget && dialog.current?.close()}
    >
      <input
        className={classes.field}
        role="combobox"
        aria-label="Go to a page, run, model or dataset"
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={current < 0 ? undefined : `${id}-${current}`}
        autoComplete="off"
        placeholder="Go to a page, run, model or dataset"
        maxLength={100}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value);
          setActive(0);
        }}
        onKeyDown={onKeyDown}
      />
      <div id={id} role="listbox" aria-label="Found" className={classes.list}>
        {entries.map((entry, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field has the keyboard
          <div
            key={entry.key}
            id={`${id}-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === current}
            ref={index === current ? intoView : null}
            className={classes.entry}
            onPointerMove={() => setActive(index)}
            onClick={() => choose(entry)}
          >
            <Icon name={entry.icon} size={14} />
            <span className={classes.text}>{entry.text}</span>
            <span className={classes.note}>
              {entry.note === '' ? '' : `${entry.note}, `}
              {entry.kind}
            </span>
          </div>
        ))}
      </div>
      {entries.length === 0 && <p className={classes.none}>Nothing is found.</p>}
      <VisuallyHidden role="status">{entries.length} found</VisuallyHidden>
    </dialog>
  );
}

const intoView = (entry: HTMLElement | null): void => entry?.scrollIntoView({ block: 'nearest' });

/** What the text finds: pages and views by their names, runs by the service, models and datasets by theirs. */
function useEntries(text: string): Entry[] {
  const { client } = useServices();
  const navigate = useNavigate();
  const router = useRouter();
  const actions = useMe().data?.actions ?? [];
  const [q] = useDebouncedValue(text, typingPauseMs);
  const runs = useQuery({
    queryKey: [...keys.runs, 'palette', q],
    queryFn: ({ signal }) => client.listRuns({ ...(q === '' ? { sort: '-updatedAt' } : { q }), limit: most }, { signal }),
    placeholderData: keepPreviousData,
  });
  const models = useQuery({
    queryKey: [...keys.models, 'names'],
    queryFn: ({ signal }) => client.listModels({ limit: searched }, { signal }),
  });
  const datasets = useQuery({
    queryKey: [...keys.datasets, 'all'],
    queryFn: ({ signal }) => client.listDatasets({ limit: searched }, { signal }),
  });
  const views = useQuery({ queryKey: keys.views, queryFn: ({ signal }) => client.listViews({ signal }) });
  const page = (name: string, open: () => void, kind = 'page'): Entry => ({
    ...{ key: `page ${name}`, kind, icon: kind === 'page' ? 'columns' : 'play', text: name, note: '', open },
  });
  const pages = [
    ...(actions.includes('run.submit') ? [page('Submit a run', () => void navigate({ to: '/submit' }), 'action')] : []),
    page('Home', () => void navigate({ to: '/' })),
    page('Runs', () => void navigate({ to: '/runs' })),
    page('Failed runs', () => void navigate({ to: '/runs', search: { state: ['failed'] } })),
    page('Models', () => void navigate({ to: '/models' })),
    page('Datasets', () => void navigate({ to: '/datasets' })),
    page('Fleet', () => void navigate({ to: '/fleet' })),
    page('Ledger', () => void navigate({ to: '/ledger' })),
    page('Schedules', () => void navigate({ to: '/schedules' })),
    page('Triggers', () => void navigate({ to: '/triggers' })),
    ...(actions.includes('delivery.manage')
      ? [page('Webhooks', () => void navigate({ to: '/webhooks' })), page('Code hosts', () => void navigate({ to: '/code-hosts' }))]
      : []),
    page('Retention', () => void navigate({ to: '/retention' })),
    ...(actions.includes('secret.manage') ? [page('Secrets', () => void navigate({ to: '/secrets' }))] : []),
    ...(actions.includes('picture.search') ? [page('Try a picture', () => void navigate({ to: '/try' }))] : []),
    ...(actions.includes('token.manage') ? [page('Tokens', () => void navigate({ to: '/tokens' }))] : []),
    ...(actions.includes('audit.read') ? [page('Audit', () => void navigate({ to: '/audit' }))] : []),
  ];
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const isFound = (name: string): boolean => words.every((word) => name.toLowerCase().includes(word));
  // Until the answer for this text is there, runs of the one before that it would find too: Enter must not open another.
  const isCurrent = q === text && !runs.isPlaceholderData;
  const found = (runs.data?.items ?? []).filter(
    ({ id, name, recipe, owner, tags, noteLine }) =>
      isCurrent || [id, name, recipe, owner, noteLine ?? '', ...tags].some((one) => one.toLowerCase().includes(text.toLowerCase())),
  );
  return [
    ...pages.filter((one) => isFound(one.text)),
    ...(views.data?.items ?? [])
      .filter(({ name }) => isFound(name))
      .slice(0, most)
      .map(({ name, owner, page: of, query, isShared }): Entry => {
        const open = () => router.history.push(`/${of}?${query}`);
        return {
          key: `view ${owner} ${name}`,
          kind: 'view',
          icon: 'columns',
          text: name,
          note: isShared ? `${of}, of ${owner}` : of,
          open,
        };
      }),
    ...found.map(({ id, name, state, recipe }): Entry => {
      const { icon, label } = runLooks[state];
      const open = () => void navigate({ to: '/runs/$runId', params: { runId: id } });
      return { key: id, kind: 'run', icon, text: name, note: `${label.toLowerCase()}, ${recipe}`, open };
    }),
    ...(words.length === 0 ? [] : (models.data?.items ?? []))
      .filter(({ name }) => isFound(name))
      .slice(0, most)
      .map(({ name, version }): Entry => {
        const open = () => void navigate({ to: '/models/$name', params: { name } });
        return { key: `model ${name}`, kind: 'model', icon: 'rocket', text: name, note: `version ${version}`, open };
      }),
    ...(words.length === 0 ? [] : (datasets.data?.items ?? []))
      .filter(({ name, version }) => isFound(`${name}@${version}`))
      .slice(0, most)
      .map(({ name, version }): Entry => {
        const open = () => void navigate({ to: '/datasets/$name', params: { name: `${name}@${version}` } });
        return { key: `dataset ${name}@${version}`, kind: 'dataset', icon: 'columns', text: `${name}@${version}`, note: '', open };
      }),
  ];
}

import { labelTexts, type RunListItem, runAges, runState } from '@cairn/contract';
import { Button, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { useMe } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Dropdown } from '../../parts/dropdown.tsx';
import { Icon } from '../../parts/icon.tsx';
import { runLooks } from '../../parts/looks.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './runs.module.css';
import { runColumns } from './runs-columns.tsx';
import { type ChangeSearch, columnIds, defaultColumns, type RunsSearch } from './runs-search.ts';

type Props = {
  search: RunsSearch;
  narrow: ChangeSearch;
  change: ChangeSearch;
  /** Null when nothing is filtered. */
  clear: (() => void) | null;
  rows: readonly RunListItem[];
};

/** What narrows the list, and which columns are shown. */
export function RunsFilters({ search, narrow, change, clear, rows }: Props) {
  return (
    <search className={classes.filters}>
      <SearchField value={search.q ?? ''} onChange={(q) => narrow({ q: q === '' ? undefined : q }, 'replace')} />
      <Choices
        title="State"
        options={runState.options}
        chosen={search.state ?? []}
        onChoose={(state) => narrow({ state })}
        show={(state) => <StateBadge look={runLooks[state]} />}
      />
      <RecipeChoices chosen={search.recipe ?? []} onChoose={(recipe) => narrow({ recipe })} />
      <OwnerChoices chosen={search.owner ?? []} onChoose={(owner) => narrow({ owner })} rows={rows} />
      <LabelChoices chosen={search.label ?? []} onChoose={(label) => narrow({ label })} rows={rows} />
      <TagChoices chosen={search.tag ?? []} onChoose={(tag) => narrow({ tag })} rows={rows} />
      <AgeChoice chosen={search.age} onChoose={(age) => narrow({ age })} />
      {clear !== null && (
        <Button variant="subtle" onClick={clear} leftSection={<Icon name="cross" size={12} />}>
          Clear filters
        </Button>
      )}
      <span className={classes.columns}>
        <Choices
          title="Columns"
          options={columnIds}
          chosen={search.column ?? defaultColumns}
          // Kept in the order of the table.
          onChoose={(column) => change({ column: columnIds.filter((id) => column?.includes(id)) }, 'replace')}
          show={(id) => runColumns[id].title}
          hasNoCount
        />
      </span>
    </search>
  );
}

const typingMs = 250;

/** Searches as one types, when the typing pauses. `/` moves the focus here from anywhere. */
function SearchField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const sent = useRef(value);
  const field = useRef<HTMLInputElement>(null);
  const send = useRef(onChange);
  send.current = onChange;
  // The address changed by other means, such as Back: the field follows.
  if (value !== sent.current) {
    sent.current = value;
    setText(value);
  }
  useEffect(() => {
    if (text.trim() === sent.current) return;
    const timer = setTimeout(() => {
      sent.current = text.trim();
      send.current(text.trim());
    }, typingMs);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    const focus = (event: KeyboardEvent): void => {
      const isTyping =
        event.target instanceof HTMLElement && event.target.matches('input:not([type=checkbox], [type=radio]), textarea, select');
      if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      field.current?.focus();
    };
    document.addEventListener('keydown', focus);
    return () => document.removeEventListener('keydown', focus);
  }, []);
  return (
    <TextInput
      ref={field}
      type="search"
      size="xs"
      className={classes.search}
      aria-label="Search by name, id, recipe, owner, tag or note"
      placeholder="Name, id, recipe, owner, tag, note"
      maxLength={100}
      leftSection={<Icon name="search" size={14} />}
      value={text}
      onChange={(event) => setText(event.currentTarget.value)}
    />
  );
}

type ChoicesProps<T extends string> = {
  title: string;
  options: readonly T[];
  chosen: readonly T[];
  onChoose: (chosen: T[] | undefined) => void;
  show?: (option: T) => ReactNode;
  hasNoCount?: boolean;
  onOpen?: () => void;
};

/** Several values of one filter. */
function Choices<T extends string>({ title, options, chosen, onChoose, show = (option) => option, hasNoCount, onOpen }: ChoicesProps<T>) {
  const label = chosen.length === 0 || hasNoCount ? title : `${title} (${chosen.length})`;
  const toggle = (option: T) => {
    const next = chosen.includes(option) ? chosen.filter((one) => one !== option) : [...chosen, option];
    onChoose(next.length === 0 ? undefined : next);
  };
  return (
    <Dropdown label={label} onOpen={onOpen}>
      <fieldset className={classes.choices}>
        <legend>{title}</legend>
        {options.map((option) => (
          <label key={option}>
            <input type="checkbox" checked={chosen.includes(option)} onChange={() => toggle(option)} />
            {show(option)}
          </label>
        ))}
        {options.length === 0 && <p>None yet.</p>}
      </fieldset>
    </Dropdown>
  );
}

type TextChoices = { chosen: readonly string[]; onChoose: (chosen: string[] | undefined) => void };

/** The built-in recipes, which are read when the list is opened. */
function RecipeChoices({ chosen, onChoose }: TextChoices) {
  const { client } = useServices();
  const [isOpen, setOpen] = useState(false);
  const recipes = useQuery({ queryKey: keys.recipes, queryFn: ({ signal }) => client.listRecipes({ signal }), enabled: isOpen });
  const names = (recipes.data?.items ?? []).map(({ name }) => name);
  return <Choices title="Recipe" options={withChosen(names, chosen)} chosen={chosen} onChoose={onChoose} onOpen={() => setOpen(true)} />;
}

/** Whoever is signed in, and the owners of the runs on the page. */
function OwnerChoices({ chosen, onChoose, rows }: TextChoices & { rows: readonly RunListItem[] }) {
  const me = useMe().data?.tokenName;
  const owners = rows.map(({ owner }) => owner).sort();
  return (
    <Choices title="Owner" options={withChosen(me === undefined ? owners : [me, ...owners], chosen)} chosen={chosen} onChoose={onChoose} />
  );
}

/** The labels of the runs on the page; runs that have all of the chosen ones match. */
function LabelChoices({ chosen, onChoose, rows }: TextChoices & { rows: readonly RunListItem[] }) {
  const texts = rows.flatMap(({ labels }) => labelTexts(labels)).sort();
  return texts.length + chosen.length === 0 ? null : (
    <Choices title="Labels" options={withChosen(texts, chosen)} chosen={chosen} onChoose={onChoose} />
  );
}

/** The tags of the runs on the page; runs that have all of the chosen ones match. */
function TagChoices({ chosen, onChoose, rows }: TextChoices & { rows: readonly RunListItem[] }) {
  const texts = rows.flatMap(({ tags }) => tags).sort();
  return texts.length + chosen.length === 0 ? null : (
    <Choices title="Tags" options={withChosen(texts, chosen)} chosen={chosen} onChoose={onChoose} />
  );
}

const withChosen = (names: readonly string[], chosen: readonly string[]): string[] => [...new Set([...names, ...chosen])];

const ageIds = ['1d', '7d', '30d'] as const;

function AgeChoice({ chosen, onChoose }: { chosen: RunsSearch['age']; onChoose: (age: RunsSearch['age']) => void }) {
  return (
    <Dropdown label={chosen === undefined ? 'Created' : `Created: ${runAges[chosen].label.toLowerCase()}`}>
      <fieldset className={classes.choices}>
        <legend>Created</legend>
        {[undefined, ...ageIds].map((age) => (
          <label key={age ?? 'any'}>
            <input type="radio" name="age" checked={chosen === age} onChange={() => onChoose(age)} />
            {age === undefined ? 'Any time' : runAges[age].label}
          </label>
        ))}
      </fieldset>
    </Dropdown>
  );
}

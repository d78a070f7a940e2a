import { Button, TextInput } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { type KeyboardEvent, memo, useId, useState } from 'react';
import { Marked } from '../../parts/marked.tsx';
import type { SettingFault } from './recipe-text.ts';
import { sameValue, typedValue, valueText } from './recipe-text.ts';
import type { SettingRow } from './setting-rows.ts';
import { isStageStart, type StageStart } from './stage-start.ts';
import { StartChoice, StartSource } from './start-choice.tsx';
import classes from './submit.module.css';
import { type SubmitSearch, shownSettings } from './submit-search.ts';

/** Rows in the document: a search narrows them down. */
const shownRows = 50;
/** Rows of what is wrong elsewhere. */
const mostWrong = 10;

type Props = {
  rows: readonly SettingRow[];
  faults: readonly SettingFault[];
  /** Names that fit a setting, such as those of imported weights for `weights`. */
  suggestionsFor: (row: SettingRow) => readonly string[];
  onChange: (path: readonly string[], value: unknown) => void;
  onReset: (row: SettingRow) => void;
};

/** All settings of a recipe with their defaults and meaning; a field that is changed writes the recipe. */
export function SettingsEditor({ rows, faults, suggestionsFor, onChange, onReset }: Props) {
  const { q = '', shows } = useSearch({ from: '/signed-in/submit' });
  const navigate = useNavigate({ from: '/submit' });
  // The address follows what is typed.
  const [search, setSearch] = useState(q);
  const [page, setPage] = useState(0);
  const find = (part: Pick<SubmitSearch, 'q' | 'shows'>): void => {
    setPage(0);
    void navigate({ search: (old) => ({ ...old, ...part }), replace: true, resetScroll: false });
  };
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const faultOf = (row: SettingRow): string | null => faults.find(({ path }) => path === row.name)?.message ?? null;
  const found = rows.filter(
    (row) =>
      (shows === undefined || (shows === 'changed' ? row.isChanged : row.changesResult === true)) &&
      words.every((word) => `${row.name} ${valueText(row.value)} ${row.description}`.toLowerCase().includes(word)),
  );
  // What is wrong is in sight, whatever is searched.
  const lastPage = Math.max(0, Math.ceil(found.length / shownRows) - 1);
  const from = Math.min(page, lastPage) * shownRows;
  const onPage = found.slice(from, from + shownRows);
  const wrong = rows.filter((row) => faultOf(row) !== null && !onPage.includes(row)).slice(0, mostWrong);
  const changed = rows.filter(({ isChanged }) => isChanged).length;
  const shown = [...wrong, ...onPage];
  const chooseStart = ({ path }: SettingRow, { from, weights }: StageStart): void => {
    onChange(path, from);
    const weightsPath = [...path.slice(0, -1), 'weights'];
    const now = rows.find((row) => sameValue(row.path, weightsPath))?.value ?? null;
    if (now !== weights) onChange(weightsPath, weights);
  };
  return (
    <section aria-labelledby="settings-title">
      <div className={classes.filter}>
        <h2 id="settings-title">Settings</h2>
        <TextInput
          size="xs"
          type="search"
          aria-label="Search the settings"
          maxLength={200}
          placeholder="Search, such as 512 rate"
          w="13rem"
          value={search}
          onChange={({ currentTarget: { value } }) => {
            setSearch(value);
            find({ q: value || undefined });
          }}
        />
        <select
          aria-label="Which settings"
          value={shows ?? 'all'}
          onChange={({ currentTarget: { value } }) => find({ shows: shownSettings.find((one) => one === value) })}
        >
          <option value="all">All</option>
          <option value="changed">Changed</option>
          <option value="result">That change the result</option>
        </select>
        <span className={classes.count} role="status">
          {found.length} of {rows.length}
          {changed > 0 && `, ${changed} changed`}
        </span>
      </div>
      {shown.length === 0 ? (
        <p className={classes.empty}>{shows === 'changed' && search === '' ? 'Nothing is changed.' : 'No setting matches.'}</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard.
        <section className={classes.scroll} tabIndex={0} aria-label="Table of settings">
          <table className={classes.table}>
            <thead>
              <tr>
                <th>Setting</th>
                <th>Value</th>
                <th>Default</th>
                <th>Meaning</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((row) => (
                <Row
                  key={row.name}
                  row={row}
                  fault={faultOf(row)}
                  suggestions={suggestionsFor(row)}
                  onChange={onChange}
                  onReset={onReset}
                  onStart={chooseStart}
                />
              ))}
            </tbody>
          </table>
        </section>
      )}
      {lastPage > 0 && (
        <nav aria-label="Pages of the settings" className={classes.pages}>
          {from > 0 && (
            <Button variant="default" onClick={() => setPage(from / shownRows - 1)}>
              Previous
            </Button>
          )}
          <span>
            {from + 1} to {from + onPage.length} of {found.length}
          </span>
          {from < lastPage * shownRows && (
            <Button variant="default" onClick={() => setPage(from / shownRows + 1)}>
              Next
            </Button>
          )}
        </nav>
      )}
    </section>
  );
}

type RowProps = {
  row: SettingRow;
  fault: string | null;
  suggestions: readonly string[];
  onStart: (row: SettingRow, start: StageStart) => void;
} & Pick<Props, 'onChange' | 'onReset'>;

const Row = memo(function Row({ row, fault, suggestions, onChange, onReset, onStart }: RowProps) {
  const id = useId();
  const { path, name, part, base, isChanged, defaultValue, description, changesResult } = row;
  const own = name.slice(part === '' ? 0 : part.length + 1);
  return (
    <tr data-changed={isChanged}>
      <th scope="row">
        {part !== '' && <span className={classes.part}>{part}</span>}
        <code title={name}>{own}</code>
      </th>
      <td>
        <Field row={row} suggestions={suggestions} describedBy={fault === null ? undefined : id} onChange={onChange} />
        {isStageStart(path) && (
          <>
            <StartSource value={row.value} />
            <StartChoice setting={name} onChoose={(start) => onStart(row, start)} />
          </>
        )}
        {fault !== null && (
          <p id={id} className={classes.fault}>
            {fault}
          </p>
        )}
        {isChanged && (
          <p className={classes.was}>
            was <code>{base === undefined ? 'not set' : valueText(base)}</code>{' '}
            <button type="button" onClick={() => onReset(row)} aria-label={`Undo the change of ${name}`}>
              Undo
            </button>
          </p>
        )}
      </td>
      <td className={classes.dim}>{defaultValue === undefined ? '-' : <code>{valueText(defaultValue)}</code>}</td>
      <td className={classes.meaning}>
        <Marked text={description} />
        {changesResult === false && <span className={classes.tag}> Does not change the result.</span>}
      </td>
    </tr>
  );
});

type FieldProps = { row: SettingRow; suggestions: readonly string[]; describedBy: string | undefined; onChange: Props['onChange'] };

function Field({ row, suggestions, describedBy, onChange }: FieldProps) {
  const { path, name, value, options, schema } = row;
  const list = useId();
  const text = value === undefined ? '' : typeof value === 'string' ? value : valueText(value);
  // While a person types, the field says what was typed, and not what was read of it.
  const [typed, setTyped] = useState<string | null>(null);
  const common = { 'aria-label': name, 'aria-invalid': describedBy !== undefined, 'aria-describedby': describedBy };
  const change = (next: string): void => {
    if (next.trim() !== '') onChange(path, typedValue(schema, next));
  };
  if (options !== null && (value === undefined || options.includes(value))) {
    return (
      <select {...common} value={text} onChange={({ currentTarget }) => change(currentTarget.value)}>
        {value === undefined && <option value="">not set</option>}
        {options.map((option) => (
          <option key={String(option)} value={String(option)}>
            {String(option)}
          </option>
        ))}
      </select>
    );
  }
  return (
    <>
      <input
        {...common}
        value={typed ?? text}
        placeholder={value === undefined ? 'not set' : undefined}
        spellCheck={false}
        autoComplete="off"
        {...(suggestions.length === 0 ? {} : { list })}
        onChange={({ currentTarget }) => {
          setTyped(currentTarget.value);
          change(currentTarget.value);
        }}
        onBlur={() => setTyped(null)}
        onKeyDown={submitsNot}
      />
      {suggestions.length > 0 && (
        <datalist id={list}>
          {suggestions.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
    </>
  );
}

/** Enter in the field of a setting is not the wish to submit the run. */
const submitsNot = (event: KeyboardEvent): void => {
  if (event.key === 'Enter') event.preventDefault();
};

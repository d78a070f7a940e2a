import type { RunView } from '@cairn/contract';
import { TextInput } from '@mantine/core';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { CopyButton } from '../../parts/copy-call.tsx';
import { formatCounted } from '../../parts/numbers.ts';
import classes from './settings.module.css';
import { settingRows, shownValue } from './settings-rows.ts';

/** Most rows in the page: a search narrows them down. */
const shownRows = 60;

/** What the submission gave, the settings of every step with the defaults, and the recipe. */
export default function SettingsTab({ run }: { run: RunView }) {
  const { step: chosen, q = '' } = useSearch({ from: '/signed-in/runs/$runId' });
  // The address follows what is typed.
  const [search, setSearch] = useState(q);
  const navigate = useNavigate({ from: '/runs/$runId' });
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = settingRows(run.stepViews.filter(({ name }) => chosen === undefined || name === chosen)).filter((row) =>
    words.every((word) => `${row.step}.${row.path} ${row.value} ${row.isDefault ? 'default' : 'set'}`.toLowerCase().includes(word)),
  );
  return (
    <div className={classes.settings}>
      <section aria-labelledby="given">
        <h2 id="given">Given with the submission</h2>
        <Given run={run} />
      </section>
      <section aria-labelledby="all-settings">
        <h2 id="all-settings">Settings of {chosen ?? 'every step'}</h2>
        <div className={classes.filter}>
          <TextInput
            aria-label="Search the settings"
            placeholder="Search, such as rate or default"
            w="20rem"
            maxLength={200}
            value={search}
            onChange={({ currentTarget: { value } }) => {
              setSearch(value);
              void navigate({ search: (now) => ({ ...now, q: value || undefined }), replace: true, resetScroll: false });
            }}
          />
          {chosen !== undefined && (
            <Link from="/runs/$runId" search={{ tab: 'settings' }} resetScroll={false}>
              Show every step
            </Link>
          )}
          <span className={classes.count} role="status">
            {rows.length > shownRows ? `the first ${shownRows} of ${rows.length} settings` : formatCounted(rows.length, 'setting')}
          </span>
        </div>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard. */}
        <section className={classes.scroll} tabIndex={0} aria-label="Table of settings">
          <table className={classes.table}>
            <thead>
              <tr>
                <th>Step</th>
                <th>Setting</th>
                <th>Value</th>
                <th>From</th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, shownRows).map((row) => (
                <tr key={`${row.step} ${row.path}`} data-default={row.isDefault}>
                  <td>{row.step}</td>
                  <td>
                    <code>{row.path}</code>
                  </td>
                  <td>
                    <code>{row.value}</code>
                  </td>
                  <td>{row.isDefault ? 'default' : 'recipe or submission'}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      </section>
      <section aria-labelledby="recipe">
        <h2 id="recipe">
          Recipe <CopyButton text={run.recipeYaml} />
        </h2>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard. */}
        <section className={classes.recipe} tabIndex={0} aria-label="The recipe as YAML">
          <pre>{run.recipeYaml}</pre>
        </section>
      </section>
    </div>
  );
}

function Given({ run: { given, recipe, noReuse, dataset } }: { run: RunView }) {
  const set = Object.entries(given?.set ?? {});
  return (
    <dl className={classes.given}>
      <dt>Recipe</dt>
      <dd>{given === null || given.recipe !== null ? recipe : `a whole recipe, ${recipe}`}</dd>
      <dt>Dataset</dt>
      <dd>{dataset}</dd>
      <dt>Settings</dt>
      <dd>
        {given === null && 'not recorded for runs of earlier versions; the recipe below has them'}
        {given !== null && set.length === 0 && 'none: as the recipe has them'}
        {set.map(([path, value]) => (
          <div key={path}>
            <code>
              {path}={shownValue(value)}
            </code>
          </div>
        ))}
      </dd>
      {given?.until != null && (
        <>
          <dt>Until</dt>
          <dd>{given.until.join(', ')}</dd>
        </>
      )}
      <dt>Without reuse</dt>
      <dd>{noReuse === true ? 'every step' : noReuse === false || noReuse.length === 0 ? 'no step' : noReuse.join(', ')}</dd>
    </dl>
  );
}

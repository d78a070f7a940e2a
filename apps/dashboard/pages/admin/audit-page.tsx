import { type AuditEntry, auditChanges } from '@cairn/contract';
import { Button, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { auditQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { Pager } from '../../parts/pager.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Target } from '../../parts/target.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './admin.module.css';
import { type AuditSearch, type FilterKey, filterKeys } from './audit-search.ts';

/** Who changed what, newest first. */
export function AuditPage() {
  useTitle('Audit');
  const mayRead = useMay('audit.read');
  const search = useSearch({ from: '/signed-in/audit' });
  const navigate = useNavigate({ from: '/audit' });
  const given = filterKeys.flatMap((key) => (search[key] === undefined ? [] : [[key, search[key]] as const]));
  const query = new URLSearchParams(given.map(([key, value]) => [key, value]));
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>Audit</h1>
        {mayRead && (
          <CopyCall
            cli={['cairn audit', ...given.map(([key, value]) => `--${key} ${quoted(value)}`)].join(' ')}
            call={{ path: given.length === 0 ? '/v1/audit' : `/v1/audit?${query}` }}
          />
        )}
      </div>
      {mayRead ? (
        <>
          <Filters key={query.toString()} search={search} onChange={(next) => void navigate({ search: next })} />
          <Entries search={search} />
        </>
      ) : (
        <p>Your role may not read the audit log: it takes a token of the role admin.</p>
      )}
    </>
  );
}

const labels = { actor: 'Token', action: 'Action', target: 'Target' } as const satisfies Record<FilterKey, string>;
const placeholders = { actor: 'its name', action: 'such as run.cancel', target: 'an id or a name' } as const;

/** Each field matches the whole value; Enter applies them. */
function Filters({ search, onChange }: { search: AuditSearch; onChange: (search: AuditSearch) => void }) {
  const [draft, setDraft] = useState(search);
  return (
    <search>
      <form
        className={tableClasses.filters}
        onSubmit={(event) => {
          event.preventDefault();
          onChange(Object.fromEntries(filterKeys.map((key) => [key, draft[key]?.trim() || undefined])));
        }}
      >
        {filterKeys.map((key) => (
          <TextInput
            key={key}
            size="xs"
            label={labels[key]}
            placeholder={placeholders[key]}
            maxLength={63}
            value={draft[key] ?? ''}
            onChange={({ currentTarget: { value } }) => setDraft((old) => ({ ...old, [key]: value }))}
          />
        ))}
        <Button type="submit" variant="default">
          Filter
        </Button>
        {filterKeys.some((key) => search[key] !== undefined) && (
          <Button variant="subtle" onClick={() => onChange({})}>
            Clear filters
          </Button>
        )}
      </form>
    </search>
  );
}

function Entries({ search }: { search: AuditSearch }) {
  const { client } = useServices();
  const navigate = useNavigate({ from: '/audit' });
  useFollow('runs');
  const audit = useQuery(auditQuery(client, search));
  return (
    <>
      <Answer of={audit}>
        {({ items }) => (items.length === 0 ? <p className={tableClasses.empty}>No entry matches.</p> : <EntryTable items={items} />)}
      </Answer>
      <Pager
        cursor={search.cursor}
        nextCursor={audit.data?.nextCursor ?? null}
        onGo={(next) => void navigate({ search: { ...search, cursor: next } })}
      />
    </>
  );
}

function EntryTable({ items }: { items: readonly AuditEntry[] }) {
  return (
    <Table name="Audit log">
      <thead>
        <tr>
          <th>When</th>
          <th>Token</th>
          <th>Action</th>
          <th>Target</th>
          <th>What changed</th>
          <th>Address</th>
        </tr>
      </thead>
      <tbody>
        {items.map((entry) => (
          <tr key={`${entry.at} ${entry.actor} ${entry.action} ${entry.target}`}>
            <td>
              <Ago at={entry.at} />
            </td>
            <td title={entry.tokenId ?? undefined}>{entry.actor}</td>
            <td>
              <code>{entry.action}</code>
            </td>
            <td>
              <Target target={entry.target} />
            </td>
            <td className={classes.changes}>
              <Changes entry={entry} />
            </td>
            <td>{entry.address ?? '-'}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

/** The fields that are not the same before and after. */
function Changes({ entry }: { entry: AuditEntry }) {
  const changed = auditChanges(entry);
  if (changed.length === 0) return <span className={tableClasses.dim}>-</span>;
  return changed.map(({ name, was, is }) => (
    <div key={name}>
      {name}: {was !== null && <del>{was}</del>} {is !== null && <ins>{is}</ins>}
    </div>
  ));
}

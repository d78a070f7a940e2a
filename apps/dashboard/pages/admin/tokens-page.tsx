import { type TokenRole, type TokenView, tokenRole } from '@cairn/contract';
import { Button, NativeSelect, TextInput } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay, useMe } from '../../app/me.ts';
import { tokensQuery } from '../../app/queries.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import dialogClasses from '../../parts/confirm-dialog.module.css';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { CopyButton, CopyCall } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './admin.module.css';

/** Rows in the document. */
const shown = 60;

type Token = { id: string; name: string };

/** The tokens that are not revoked: who has access, since when, and whether it is used. */
export function TokensPage() {
  useTitle('Tokens');
  useFollow('runs');
  const mayManage = useMay('token.manage');
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>Tokens</h1>
        {mayManage && <CopyCall cli="cairn tokens" call={{ path: '/v1/tokens' }} />}
      </div>
      {mayManage ? <Tokens /> : <p>Your role may not manage tokens: it takes a token of the role admin.</p>}
    </>
  );
}

function Tokens() {
  const { client } = useServices();
  const tokens = useQuery(tokensQuery(client));
  return <Answer of={tokens}>{({ items }) => <TokenTable items={items} />}</Answer>;
}

function TokenTable({ items }: { items: readonly TokenView[] }) {
  const me = useMe();
  const { q = '' } = useSearch({ from: '/signed-in/tokens' });
  const navigate = useNavigate({ from: '/tokens' });
  // The address follows what is typed.
  const [search, setSearch] = useState(q);
  const [asks, setAsks] = useState<Token | 'create' | null>(null);
  const words = search.toLowerCase();
  const found = items.filter(({ id, name, role }) => `${name} ${role} ${id}`.toLowerCase().includes(words));
  return (
    <>
      <div className={tableClasses.filters}>
        <TextInput
          size="xs"
          type="search"
          aria-label="Search the tokens"
          placeholder="Name, role or id"
          value={search}
          maxLength={100}
          onChange={({ currentTarget: { value } }) => {
            setSearch(value);
            void navigate({ search: { q: value || undefined }, replace: true });
          }}
        />
        <span className={tableClasses.dim} role="status">
          {formatCount(found.length)} of {formatCount(items.length)}
        </span>
        <Button onClick={() => setAsks('create')}>Create a token …</Button>
      </div>
      {found.length === 0 ? (
        <p className={tableClasses.empty}>No token matches.</p>
      ) : (
        <Table name="Table of tokens">
          <thead>
            <tr>
              <th>Name</th>
              <th>Role</th>
              <th>Created</th>
              <th>Expires</th>
              <th>Last used</th>
              <th>Id</th>
              <th aria-label="Actions" />
            </tr>
          </thead>
          <tbody>
            {found.slice(0, shown).map((token) => (
              <tr key={token.id}>
                <th scope="row">
                  <Link to="/audit" search={{ actor: token.name }} title="What it changed">
                    {token.name}
                  </Link>
                </th>
                <td>{token.role}</td>
                <td>
                  <Ago at={token.createdAt} />
                </td>
                <td>{token.expiresAt === null ? 'never' : new Date(token.expiresAt).toISOString().slice(0, 10)}</td>
                <td>{token.lastUsedAt === null ? <span className={tableClasses.dim}>never</span> : <Ago at={token.lastUsedAt} />}</td>
                <td>
                  <code>{token.id}</code>
                </td>
                <td>
                  {token.id === me.data?.tokenId ? (
                    <span className={tableClasses.dim}>yours</span>
                  ) : (
                    <Button size="compact-xs" variant="default" aria-label={`Revoke ${token.name}`} onClick={() => setAsks(token)}>
                      Revoke …
                    </Button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {found.length > shown && <p className={tableClasses.dim}>The first {shown}: search for the others.</p>}
      {asks === 'create' && <CreateDialog onClose={() => setAsks(null)} />}
      {asks !== null && asks !== 'create' && <RevokeDialog token={asks} onClose={() => setAsks(null)} />}
    </>
  );
}

function RevokeDialog({ token, onClose }: { token: Token; onClose: () => void }) {
  const { client, queries } = useServices();
  const revoke = useMutation({
    mutationFn: () => client.revokeToken(token.id),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: keys.tokens });
      onClose();
    },
  });
  return (
    <ConfirmDialog
      title={`Revoke ${token.name}?`}
      action="Revoke the token"
      isDangerous
      isBusy={revoke.isPending}
      error={revoke.error}
      onConfirm={() => revoke.mutate()}
      onClose={onClose}
    >
      <p>Calls and browser sessions with it fail from the next request on. Runs that it submitted go on.</p>
    </ConfirmDialog>
  );
}

const isRole = (value: string): value is TokenRole => tokenRole.safeParse(value).success;

function CreateDialog({ onClose }: { onClose: () => void }) {
  const { client, queries } = useServices();
  const [name, setName] = useState('');
  const [role, setRole] = useState<TokenRole>('submitter');
  const [days, setDays] = useState('');
  const create = useMutation({
    mutationFn: () => client.createToken({ name, role, ...(days === '' ? {} : { expiresInDays: Number(days) }) }),
    onSuccess: () => queries.invalidateQueries({ queryKey: keys.tokens }),
  });
  return (
    <ConfirmDialog
      title="Create a token"
      action={create.data === undefined ? 'Create' : 'Done'}
      isBusy={create.isPending}
      error={create.error}
      onConfirm={() => (create.data === undefined ? create.mutate() : onClose())}
      onClose={onClose}
    >
      {create.data === undefined ? (
        <div className={dialogClasses.fields}>
          <TextInput label="Name" required maxLength={63} value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <NativeSelect
            label="Role"
            value={role}
            data={[...tokenRole.options]}
            onChange={({ currentTarget: { value } }) => isRole(value) && setRole(value)}
          />
          <TextInput
            label="Expires after, in days"
            placeholder="never"
            type="number"
            min={1}
            max={3650}
            value={days}
            onChange={(event) => setDays(event.currentTarget.value)}
          />
        </div>
      ) : (
        <p role="status">
          The secret of {create.data.name}, which is shown only now: <code className={classes.secret}>{create.data.secret}</code>{' '}
          <CopyButton text={create.data.secret} />
        </p>
      )}
    </ConfirmDialog>
  );
}

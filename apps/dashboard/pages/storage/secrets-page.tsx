import type { SecretKeyList } from '@cairn/contract';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { secretKeysQuery } from '../../app/queries.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { ActionButton } from '../../parts/action-button.tsx';
import { Answer } from '../../parts/answer.tsx';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { CopyCall } from '../../parts/copy-call.tsx';
import type { Look } from '../../parts/looks.ts';
import { formatCount } from '../../parts/numbers.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './storage.module.css';

const keyLooks = {
  seals: { label: 'Seals new secrets', icon: 'lock', colour: 'green' },
  opens: { label: 'Opens earlier ones', icon: 'clock', colour: 'blue' },
  missing: { label: 'Missing: its secrets cannot be used', icon: 'warning', colour: 'red' },
} as const satisfies Record<SecretKeyList['items'][number]['state'], Look>;

/** The keys that seal stored secrets. Neither a key nor a secret is shown. */
export function SecretsPage() {
  useTitle('Secrets');
  useFollow('runs');
  const mayManage = useMay('secret.manage');
  return (
    <div className={classes.page}>
      <div className={tableClasses.heading}>
        <h1>Secrets</h1>
        {mayManage && <CopyCall cli="cairn secrets" call={{ path: '/v1/secrets' }} />}
      </div>
      {mayManage ? <SecretKeys /> : <p>Your role may not see the keys of secrets: it takes a token of the role admin.</p>}
    </div>
  );
}

function SecretKeys() {
  const { client } = useServices();
  const list = useQuery(secretKeysQuery(client));
  return <Answer of={list}>{({ items }) => <KeyTable items={items} />}</Answer>;
}

function KeyTable({ items }: SecretKeyList) {
  const { client, queries } = useServices();
  const [asks, setAsks] = useState(false);
  const reseal = useMutation({
    mutationFn: () => client.resealSecrets(),
    onSuccess: (after) => {
      queries.setQueryData(keys.secrets, after);
      setAsks(false);
    },
  });
  const older = items.filter(({ state, secrets }) => state === 'opens' && secrets > 0);
  const lost = items.filter(({ state, secrets }) => state === 'missing' && secrets > 0);
  const whyNot =
    lost.length > 0
      ? `Not now: the key ${lost.map(({ keyId }) => keyId).join(', ')} is missing in CAIRN_SECRETS_KEYS`
      : older.length === 0
        ? 'Not now: every secret is sealed with the newest key'
        : null;
  return (
    <>
      <p>The secrets of triggers, webhooks and code hosts are sealed with these keys of CAIRN_SECRETS_KEYS.</p>
      <Table name="Table of keys">
        <thead>
          <tr>
            <th>Key</th>
            <th>State</th>
            <th data-number>Secrets</th>
          </tr>
        </thead>
        <tbody>
          {items.map(({ keyId, state, secrets }) => (
            <tr key={keyId}>
              <th scope="row">
                <code>{keyId}</code>
              </th>
              <td>
                <StateBadge look={keyLooks[state]} />
              </td>
              <td data-number>{formatCount(secrets)}</td>
            </tr>
          ))}
        </tbody>
      </Table>
      <p>
        <ActionButton variant="default" why={whyNot} onClick={() => setAsks(true)}>
          Seal all with the newest key …
        </ActionButton>
      </p>
      {asks && (
        <ConfirmDialog
          title="Seal every secret with the newest key?"
          action="Seal them"
          isBusy={reseal.isPending}
          error={reseal.error}
          onConfirm={() => reseal.mutate()}
          onClose={() => setAsks(false)}
        >
          <p>The secrets stay the same. After it, older keys can be removed from CAIRN_SECRETS_KEYS.</p>
        </ConfirmDialog>
      )}
    </>
  );
}

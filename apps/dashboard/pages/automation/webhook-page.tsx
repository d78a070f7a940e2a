import type { OutgoingDeliveryView, WebhookView } from '@cairn/contract';
import { Button } from '@mantine/core';
import { keepPreviousData, useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { quoted } from '../../parts/copy-call.tsx';
import { Facts } from '../../parts/facts.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { Pager } from '../../parts/pager.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago, At } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './automation.module.css';
import { AutomationHeading, pageSize, pollMs } from './automation-heading.tsx';
import { OutgoingTable, StateChoice } from './outgoing.tsx';
import { NotForRole } from './webhooks-page.tsx';

/** A webhook: what was sent to it, and what it answered. */
export function WebhookPage() {
  const { name } = useParams({ from: '/signed-in/webhooks/$name' });
  useTitle(name);
  useFollow('runs');
  const maySee = useMay('delivery.manage');
  return (
    <>
      <AutomationHeading
        title={name}
        cli={`cairn webhook deliveries ${quoted(name)}`}
        call={{ path: `/v1/webhooks/${encodeURIComponent(name)}/deliveries` }}
      />
      {maySee ? <Webhook name={name} /> : <NotForRole what="webhooks" />}
    </>
  );
}

function Webhook({ name }: { name: string }) {
  const { client, queries } = useServices();
  const { cursor, state } = useSearch({ from: '/signed-in/webhooks/$name' });
  const navigate = useNavigate({ from: '/webhooks/$name' });
  const [asks, setAsks] = useState<OutgoingDeliveryView | null>(null);
  const webhook = useQuery({
    queryKey: [...keys.webhooks, name],
    queryFn: ({ signal }) => client.getWebhook(name, { signal }),
    refetchInterval: pollMs,
  });
  const query = { limit: pageSize, ...(state === undefined ? {} : { state }), ...(cursor === undefined ? {} : { cursor }) };
  const deliveries = useQuery({
    queryKey: [...keys.webhooks, name, 'deliveries', query],
    queryFn: ({ signal }) => client.listWebhookDeliveries(name, query, { signal }),
    placeholderData: keepPreviousData,
    refetchInterval: pollMs,
    enabled: webhook.data !== undefined,
  });
  const test = useMutation({
    mutationFn: () => client.testWebhook(name),
    onSuccess: () => queries.invalidateQueries({ queryKey: keys.webhooks }),
  });
  const error = webhook.error ?? deliveries.error ?? test.error;
  const retry = (): void => {
    test.reset();
    void Promise.all([webhook.refetch(), deliveries.refetch()]);
  };
  return (
    <>
      {error !== null && <ProblemNotice error={error} onRetry={retry} />}
      {webhook.data === undefined ? error === null && <p role="status">Loading …</p> : <WebhookFacts webhook={webhook.data} />}
      {deliveries.data !== undefined && (
        <>
          <div className={classes.filters}>
            <StateChoice value={state} onChange={(next) => void navigate({ search: { state: next } })} />
            <Button variant="default" mb="0.75rem" loading={test.isPending} onClick={() => test.mutate()}>
              Send a test
            </Button>
          </div>
          <OutgoingTable items={deliveries.data.items} onResend={setAsks} />
          <Pager
            cursor={cursor}
            nextCursor={deliveries.data.nextCursor}
            onGo={(next) => void navigate({ search: { state, cursor: next } })}
          />
        </>
      )}
      {asks !== null && <ResendDialog webhook={name} delivery={asks} onClose={() => setAsks(null)} />}
    </>
  );
}

function WebhookFacts({ webhook: { url, events, createdBy, createdAt, pending, failed, previousSecretUntil } }: { webhook: WebhookView }) {
  return (
    <Facts
      className={classes.facts}
      facts={[
        ['Address', <code key="url">{url}</code>],
        ['Events', events.join(', ')],
        [
          'Added',
          <span key="added">
            by {createdBy}, <Ago at={createdAt} />
          </span>,
        ],
        ['Waiting', formatCount(pending)],
        ['Given up', formatCount(failed)],
        ...(previousSecretUntil === null
          ? []
          : [['The secret before signs too until', <At key="until" at={previousSecretUntil} />] as const]),
      ]}
    />
  );
}

function ResendDialog({ webhook, delivery, onClose }: { webhook: string; delivery: OutgoingDeliveryView; onClose: () => void }) {
  const { client, queries } = useServices();
  const resend = useMutation({
    mutationFn: () => client.resendDelivery(webhook, delivery.id),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: keys.webhooks });
      onClose();
    },
  });
  return (
    <ConfirmDialog
      title={`Send ${delivery.event} again?`}
      action="Send it again"
      isBusy={resend.isPending}
      error={resend.error}
      onConfirm={() => resend.mutate()}
      onClose={onClose}
    >
      <p>
        About {delivery.subject}, written <Ago at={delivery.createdAt} />. Its <code>webhook-id</code> stays, so a receiver that has handled
        it can tell.
      </p>
    </ConfirmDialog>
  );
}

/** A code host: what was reported to it, and what it answered. */
export function CodeHostPage() {
  const { name } = useParams({ from: '/signed-in/code-hosts/$name' });
  useTitle(name);
  useFollow('runs');
  const maySee = useMay('delivery.manage');
  return (
    <>
      <AutomationHeading
        title={name}
        cli={`cairn codehost deliveries ${quoted(name)}`}
        call={{ path: `/v1/code-hosts/${encodeURIComponent(name)}/deliveries` }}
      />
      {maySee ? <Reports name={name} /> : <NotForRole what="code hosts" />}
    </>
  );
}

function Reports({ name }: { name: string }) {
  const { client } = useServices();
  const { cursor, state } = useSearch({ from: '/signed-in/code-hosts/$name' });
  const navigate = useNavigate({ from: '/code-hosts/$name' });
  const query = { limit: pageSize, ...(state === undefined ? {} : { state }), ...(cursor === undefined ? {} : { cursor }) };
  const reports = useQuery({
    queryKey: [...keys.codeHosts, name, query],
    queryFn: ({ signal }) => client.listReports(name, query, { signal }),
    placeholderData: keepPreviousData,
    refetchInterval: pollMs,
  });
  if (reports.error !== null) return <ProblemNotice error={reports.error} onRetry={() => void reports.refetch()} />;
  if (reports.data === undefined) return <p role="status">Loading …</p>;
  return (
    <>
      <StateChoice value={state} onChange={(next) => void navigate({ search: { state: next } })} />
      <OutgoingTable items={reports.data.items} />
      <Pager cursor={cursor} nextCursor={reports.data.nextCursor} onGo={(next) => void navigate({ search: { state, cursor: next } })} />
    </>
  );
}

import type { OutgoingDeliveryView, WebhookView } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { reportsQuery, webhookDeliveriesQuery, webhookQuery } from '../../app/queries.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { quoted } from '../../parts/copy-call.tsx';
import { Facts } from '../../parts/facts.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Ago, At } from '../../parts/time.tsx';
import { AdminsPage, pollMs } from './automation-heading.tsx';
import { Outgoing } from './outgoing.tsx';

/** A webhook: what was sent to it, and what it answered. */
export function WebhookPage() {
  const { name } = useParams({ from: '/signed-in/webhooks/$name' });
  return (
    <AdminsPage
      title={name}
      what="webhooks"
      cli={`cairn webhook deliveries ${quoted(name)}`}
      call={{ path: `/v1/webhooks/${encodeURIComponent(name)}/deliveries` }}
    >
      <Webhook name={name} />
    </AdminsPage>
  );
}

function Webhook({ name }: { name: string }) {
  const { client, queries } = useServices();
  const search = useSearch({ from: '/signed-in/webhooks/$name' });
  const navigate = useNavigate({ from: '/webhooks/$name' });
  const [asks, setAsks] = useState<OutgoingDeliveryView | null>(null);
  const webhook = useQuery({ ...webhookQuery(client, name), refetchInterval: pollMs });
  const deliveries = useQuery({
    ...webhookDeliveriesQuery(client, name, search),
    refetchInterval: pollMs,
    enabled: webhook.data !== undefined,
  });
  const test = useMutation({
    mutationFn: () => client.testWebhook(name),
    onSuccess: () => queries.invalidateQueries({ queryKey: keys.webhooks }),
  });
  return (
    <>
      <Answer of={webhook}>
        {(data) => (
          <>
            <WebhookFacts webhook={data} />
            {test.error !== null && <ProblemNotice error={test.error} />}
            <Answer of={deliveries}>
              {(page) => (
                <Outgoing page={page} search={search} onGo={(next) => void navigate({ search: next })} onResend={setAsks}>
                  <Button variant="default" loading={test.isPending} onClick={() => test.mutate()}>
                    Send a test
                  </Button>
                </Outgoing>
              )}
            </Answer>
          </>
        )}
      </Answer>
      {asks !== null && <ResendDialog webhook={name} delivery={asks} onClose={() => setAsks(null)} />}
    </>
  );
}

function WebhookFacts({ webhook: { url, events, createdBy, createdAt, pending, failed, previousSecretUntil } }: { webhook: WebhookView }) {
  return (
    <Facts
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
  return (
    <AdminsPage
      title={name}
      what="code hosts"
      cli={`cairn codehost deliveries ${quoted(name)}`}
      call={{ path: `/v1/code-hosts/${encodeURIComponent(name)}/deliveries` }}
    >
      <Reports name={name} />
    </AdminsPage>
  );
}

function Reports({ name }: { name: string }) {
  const { client } = useServices();
  const search = useSearch({ from: '/signed-in/code-hosts/$name' });
  const navigate = useNavigate({ from: '/code-hosts/$name' });
  const reports = useQuery({ ...reportsQuery(client, name, search), refetchInterval: pollMs });
  return (
    <Answer of={reports}>{(page) => <Outgoing page={page} search={search} onGo={(next) => void navigate({ search: next })} />}</Answer>
  );
}

import {
  type DeliveryOutcome,
  type DeliveryView,
  deliveryOutcome,
  filterText,
  submissionLines,
  type TriggerView,
  triggerGroupText,
} from '@cairn/contract';
import { Button, NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay } from '../../app/me.ts';
import { triggerDeliveriesQuery, triggerQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { Commit } from '../../parts/commit.tsx';
import { CopyButton, quoted } from '../../parts/copy-call.tsx';
import { Facts } from '../../parts/facts.tsx';
import type { Look } from '../../parts/looks.ts';
import { formatCount } from '../../parts/numbers.ts';
import { Pager } from '../../parts/pager.tsx';
import { ReleaseDialog } from '../../parts/release-dialog.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './automation.module.css';
import { AutomationHeading, pollMs } from './automation-heading.tsx';

const outcomeLooks = {
  accepted: { label: 'Accepted', icon: 'clock', colour: 'blue' },
  started: { label: 'Started', icon: 'check', colour: 'green' },
  ignored: { label: 'Ignored', icon: 'ban', colour: 'gray' },
  held: { label: 'Held', icon: 'lock', colour: 'orange' },
  failed: { label: 'Failed', icon: 'cross', colour: 'red' },
  refused: { label: 'Refused', icon: 'warning', colour: 'red' },
} as const satisfies Record<DeliveryOutcome, Look>;

const outcomeOf = (value: string): DeliveryOutcome | undefined => deliveryOutcome.safeParse(value).data;

/** A trigger, and what was delivered to it in the last week: why each started a run, or why not. */
export function TriggerPage() {
  const { name } = useParams({ from: '/signed-in/triggers/$name' });
  const search = useSearch({ from: '/signed-in/triggers/$name' });
  const { cursor, outcome } = search;
  const navigate = useNavigate({ from: '/triggers/$name' });
  const { client } = useServices();
  const trigger = useQuery({ ...triggerQuery(client, name), refetchInterval: pollMs });
  const deliveries = useQuery({
    ...triggerDeliveriesQuery(client, name, search),
    refetchInterval: pollMs,
    enabled: trigger.data !== undefined,
  });
  return (
    <>
      <AutomationHeading
        title={name}
        cli={`cairn trigger deliveries ${quoted(name)}${outcome === undefined ? '' : ` --outcome ${outcome}`}`}
        call={{ path: `/v1/triggers/${encodeURIComponent(name)}/deliveries${outcome === undefined ? '' : `?outcome=${outcome}`}` }}
      />
      <Answer of={trigger}>
        {(data) => (
          <>
            <TriggerFacts trigger={data} />
            <div className={tableClasses.filters}>
              <NativeSelect
                size="xs"
                label="Deliveries of the last week"
                value={outcome ?? ''}
                data={[
                  { value: '', label: 'all' },
                  ...deliveryOutcome.options.map((one) => ({ value: one, label: outcomeLooks[one].label })),
                ]}
                onChange={({ currentTarget: { value } }) => void navigate({ search: { outcome: outcomeOf(value) } })}
              />
            </div>
            <Answer of={deliveries}>
              {({ items }) =>
                items.length === 0 ? (
                  <p className={tableClasses.empty}>
                    {outcome === undefined ? 'Nothing was delivered in the last week.' : `No delivery of the last week is ${outcome}.`}
                  </p>
                ) : (
                  <Deliveries trigger={name} items={items} />
                )
              }
            </Answer>
          </>
        )}
      </Answer>
      <Pager
        cursor={cursor}
        nextCursor={deliveries.data?.nextCursor ?? null}
        onGo={(next) => void navigate({ search: { outcome, cursor: next } })}
      />
    </>
  );
}

function TriggerFacts({ trigger }: { trigger: TriggerView }) {
  const { provider, run, filter, owner, path, createdAt, lastDeliveryAt } = trigger;
  const address = `${window.location.origin}${path}`;
  return (
    <Facts
      facts={[
        ['From', provider],
        ...submissionLines(run).map(
          ([title, text]) => [`${title.charAt(0).toUpperCase()}${title.slice(1)}`, text] satisfies [string, string],
        ),
        ['For', filterText(filter)],
        ['Group', triggerGroupText(trigger)],
        ['Owner', owner],
        ['Added', <Ago key="added" at={createdAt} />],
        ['Last delivery', lastDeliveryAt === null ? 'never' : <Ago key="last" at={lastDeliveryAt} />],
        [
          'Address of deliveries',
          <span key="address">
            <code>{address}</code> <CopyButton text={address} />
          </span>,
        ],
      ]}
    />
  );
}

function Deliveries({ trigger, items }: { trigger: string; items: readonly DeliveryView[] }) {
  const mayRelease = useMay('delivery.release');
  const [asks, setAsks] = useState<DeliveryView | null>(null);
  return (
    <>
      <Table name="Table of deliveries">
        <thead>
          <tr>
            <th>Received</th>
            <th>Outcome</th>
            <th>Run</th>
            <th>Why</th>
            <th>About</th>
            <th>Commit</th>
            <th data-number title="How often it was delivered again">
              Repeats
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map((delivery) => (
            <tr key={delivery.id}>
              <td>
                <Ago at={delivery.receivedAt} />
              </td>
              <td>
                <span className={classes.actions}>
                  <StateBadge look={outcomeLooks[delivery.outcome]} />
                  {delivery.outcome === 'held' && mayRelease && (
                    <Button
                      size="compact-xs"
                      variant="default"
                      aria-label={`Release ${delivery.subject}`}
                      onClick={() => setAsks(delivery)}
                    >
                      Release …
                    </Button>
                  )}
                </span>
              </td>
              <td>
                {delivery.runId === null ? (
                  <span className={tableClasses.dim}>-</span>
                ) : (
                  <Link to="/runs/$runId" params={{ runId: delivery.runId }} title={delivery.runId}>
                    run …{delivery.runId.slice(-6)}
                  </Link>
                )}
              </td>
              <td className={classes.wide}>
                {delivery.reason}
                {delivery.releasedBy !== null && <span className={tableClasses.dim}> Released by {delivery.releasedBy}.</span>}
              </td>
              <td className={classes.wide} title={delivery.event}>
                {delivery.subject}
              </td>
              <td className={classes.wide}>
                {delivery.source === null ? <span className={tableClasses.dim}>-</span> : <Commit source={delivery.source} />}
              </td>
              <td data-number>{delivery.repeats === 0 ? <span className={tableClasses.dim}>-</span> : formatCount(delivery.repeats)}</td>
            </tr>
          ))}
        </tbody>
      </Table>
      {asks !== null && <ReleaseDialog delivery={{ ...asks, trigger }} onClose={() => setAsks(null)} />}
    </>
  );
}

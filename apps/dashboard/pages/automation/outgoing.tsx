import { type OutgoingDeliveryPage, type OutgoingDeliveryState, type OutgoingDeliveryView, outgoingDeliveryState } from '@cairn/contract';
import { Button, NativeSelect } from '@mantine/core';
import type { ReactNode } from 'react';
import type { Look } from '../../parts/looks.ts';
import { formatCount } from '../../parts/numbers.ts';
import { Pager } from '../../parts/pager.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Target } from '../../parts/target.tsx';
import { Ago, Until } from '../../parts/time.tsx';
import classes from './automation.module.css';
import type { OutgoingSearch } from './automation-search.ts';

const outgoingLooks = {
  pending: { label: 'Waits', icon: 'clock', colour: 'blue' },
  delivered: { label: 'Delivered', icon: 'check', colour: 'green' },
  failed: { label: 'Given up', icon: 'cross', colour: 'red' },
} as const satisfies Record<OutgoingDeliveryState, Look>;

/** What came of the newest delivery to a receiver. */
export function Newest({ newest }: { newest: OutgoingDeliveryView | null }) {
  if (newest === null) return <span className={tableClasses.dim}>nothing sent yet</span>;
  return (
    <div className={classes.last}>
      <div>
        <StateBadge look={outgoingLooks[newest.state]} />
        <Ago at={newest.endedAt ?? newest.answer?.at ?? newest.createdAt} />
      </div>
      {newest.answer !== null && newest.state !== 'delivered' && <span className={tableClasses.dim}>{newest.answer.message}</span>}
    </div>
  );
}

const stateOf = (value: string): OutgoingDeliveryState | undefined => outgoingDeliveryState.safeParse(value).data;

type OutgoingProps = {
  page: OutgoingDeliveryPage;
  search: OutgoingSearch;
  onGo: (search: OutgoingSearch) => void;
  /** Beside the choice of a state. */
  children?: ReactNode;
} & Pick<OutgoingTableProps, 'onResend'>;

/** A page of what was sent to a receiver, all of it or that in one state. */
export function Outgoing({ page, search: { state, cursor }, onGo, onResend, children }: OutgoingProps) {
  return (
    <>
      <div className={tableClasses.filters}>
        <NativeSelect
          size="xs"
          label="Deliveries of the last 30 days"
          value={state ?? ''}
          data={[
            { value: '', label: 'all' },
            ...outgoingDeliveryState.options.map((one) => ({ value: one, label: outgoingLooks[one].label })),
          ]}
          onChange={({ currentTarget }) => onGo({ state: stateOf(currentTarget.value) })}
        />
        {children}
      </div>
      {page.items.length === 0 ? (
        <p className={tableClasses.empty}>
          {state === undefined
            ? 'Nothing was sent in the last 30 days.'
            : `No delivery of the last 30 days is in the state “${outgoingLooks[state].label}”.`}
        </p>
      ) : (
        <OutgoingTable items={page.items} onResend={onResend} />
      )}
      <Pager cursor={cursor} nextCursor={page.nextCursor} onGo={(next) => onGo({ state, cursor: next })} />
    </>
  );
}

type OutgoingTableProps = {
  items: readonly OutgoingDeliveryView[];
  /** Sends one again; undefined where that is not possible. */
  onResend?: ((delivery: OutgoingDeliveryView) => void) | undefined;
};

/** The log of what was sent: when, about what, and what the receiver answered. */
function OutgoingTable({ items, onResend }: OutgoingTableProps) {
  return (
    <Table name="Table of deliveries">
      <thead>
        <tr>
          <th>Written</th>
          <th>State</th>
          <th>Event</th>
          <th>About</th>
          <th data-number>Tries</th>
          <th>Answer</th>
          <th>Next try</th>
          {onResend !== undefined && <th aria-label="Actions" />}
        </tr>
      </thead>
      <tbody>
        {items.map((item) => (
          <tr key={item.id}>
            <td>
              <Ago at={item.createdAt} />
            </td>
            <td>
              <StateBadge look={outgoingLooks[item.state]} />
            </td>
            <td>{item.event}</td>
            <td title={`webhook-id ${item.messageId}`}>
              <Target target={item.subject} />
            </td>
            <td data-number>{formatCount(item.attempts)}</td>
            <td className={classes.wide}>
              {item.answer === null ? (
                <span className={tableClasses.dim}>not sent yet</span>
              ) : (
                <>
                  {item.answer.message} <span className={tableClasses.dim}>{<Ago at={item.answer.at} />}</span>
                </>
              )}
            </td>
            <td>{item.nextTryAt === null ? <span className={tableClasses.dim}>-</span> : <Until at={item.nextTryAt} />}</td>
            {onResend !== undefined && (
              <td>
                <Button size="compact-xs" variant="default" aria-label={`Send again delivery ${item.id}`} onClick={() => onResend(item)}>
                  Send again …
                </Button>
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

import { type OutgoingDeliveryState, type OutgoingDeliveryView, outgoingDeliveryState } from '@cairn/contract';
import { Button, NativeSelect } from '@mantine/core';
import type { Look } from '../../parts/looks.ts';
import { formatCount } from '../../parts/numbers.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago, Until } from '../../parts/time.tsx';
import classes from './automation.module.css';

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

/** Chooses which deliveries are listed. */
export function StateChoice({
  value,
  onChange,
}: {
  value: OutgoingDeliveryState | undefined;
  onChange: (state: OutgoingDeliveryState | undefined) => void;
}) {
  return (
    <div className={classes.filters}>
      <NativeSelect
        size="xs"
        label="Deliveries of the last 30 days"
        value={value ?? ''}
        data={[
          { value: '', label: 'all' },
          ...outgoingDeliveryState.options.map((one) => ({ value: one, label: outgoingLooks[one].label })),
        ]}
        onChange={({ currentTarget }) => onChange(stateOf(currentTarget.value))}
      />
    </div>
  );
}

type OutgoingTableProps = {
  items: readonly OutgoingDeliveryView[];
  /** Sends one again; undefined where that is not possible. */
  onResend?: (delivery: OutgoingDeliveryView) => void;
};

/** The log of what was sent: when, about what, and what the receiver answered. */
export function OutgoingTable({ items, onResend }: OutgoingTableProps) {
  if (items.length === 0) return <p className={tableClasses.empty}>No delivery matches.</p>;
  return (
    <Table name="Table of deliveries">
      <thead>
        <tr>
          <th>Written</th>
          <th>Event</th>
          <th>About</th>
          <th>State</th>
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
            <td>{item.event}</td>
            <td title={`webhook-id ${item.messageId}`}>{item.subject}</td>
            <td>
              <StateBadge look={outgoingLooks[item.state]} />
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

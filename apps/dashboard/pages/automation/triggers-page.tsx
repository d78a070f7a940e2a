import { filterText, recipeNameOf, type TriggerView, triggerGroupText } from '@cairn/contract';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { triggersQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyButton } from '../../parts/copy-call.tsx';
import { Pager } from '../../parts/pager.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './automation.module.css';
import { AutomationHeading, pollMs } from './automation-heading.tsx';

const addCommand = 'cairn trigger add landmarks --provider github --recipe mini';

/** What code hosts and other programs can start by a delivery. */
export function TriggersPage() {
  const { client } = useServices();
  const { cursor } = useSearch({ from: '/signed-in/triggers' });
  const navigate = useNavigate({ from: '/triggers' });
  const triggers = useQuery({ ...triggersQuery(client, cursor), placeholderData: keepPreviousData, refetchInterval: pollMs });
  return (
    <>
      <AutomationHeading title="Triggers" cli="cairn trigger list" call={{ path: '/v1/triggers' }} />
      <Answer of={triggers}>
        {({ items }) =>
          items.length === 0 ? (
            <p className={tableClasses.empty}>
              No trigger yet: <code>{addCommand}</code> <CopyButton text={addCommand} /> adds one.
            </p>
          ) : (
            <Triggers items={items} />
          )
        }
      </Answer>
      <Pager cursor={cursor} nextCursor={triggers.data?.nextCursor ?? null} onGo={(next) => void navigate({ search: { cursor: next } })} />
    </>
  );
}

function Triggers({ items }: { items: readonly TriggerView[] }) {
  return (
    <Table name="Table of triggers">
      <thead>
        <tr>
          <th>Name</th>
          <th>From</th>
          <th>Last delivery</th>
          <th>Starts</th>
          <th>For</th>
          <th>Group</th>
          <th>Owner</th>
        </tr>
      </thead>
      <tbody>
        {items.map((trigger) => (
          <tr key={trigger.id}>
            <th scope="row">
              <Link to="/triggers/$name" params={{ name: trigger.name }} title="What was delivered to it">
                {trigger.name}
              </Link>
            </th>
            <td>{trigger.provider}</td>
            <td>
              {trigger.lastDeliveryAt === null ? <span className={tableClasses.dim}>never</span> : <Ago at={trigger.lastDeliveryAt} />}
            </td>
            <td>
              {recipeNameOf(trigger.run)}
              {trigger.run.dataset !== undefined && ` on ${trigger.run.dataset}`}
            </td>
            <td className={classes.wide}>{filterText(trigger.filter)}</td>
            <td className={classes.wide}>{triggerGroupText(trigger)}</td>
            <td>{trigger.owner}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

import { filterText, recipeNameOf, triggerGroupText } from '@cairn/contract';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { CopyButton } from '../../parts/copy-call.tsx';
import { Pager } from '../../parts/pager.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './automation.module.css';
import { AutomationHeading, pageSize, pollMs } from './automation-heading.tsx';

const addCommand = 'cairn trigger add landmarks --provider github --recipe mini';

/** What code hosts and other programs can start by a delivery. */
export function TriggersPage() {
  useTitle('Triggers');
  useFollow('runs');
  const { client } = useServices();
  const { cursor } = useSearch({ from: '/signed-in/triggers' });
  const navigate = useNavigate({ from: '/triggers' });
  const triggers = useQuery({
    queryKey: [...keys.triggers, cursor],
    queryFn: ({ signal }) => client.listTriggers({ limit: pageSize, ...(cursor === undefined ? {} : { cursor }) }, { signal }),
    placeholderData: keepPreviousData,
    refetchInterval: pollMs,
  });
  return (
    <>
      <AutomationHeading title="Triggers" cli="cairn trigger list" call={{ path: '/v1/triggers' }} />
      {triggers.error !== null && <ProblemNotice error={triggers.error} onRetry={() => void triggers.refetch()} />}
      {triggers.data === undefined ? (
        triggers.error === null && <p role="status">Loading …</p>
      ) : triggers.data.items.length === 0 ? (
        <p className={tableClasses.empty}>
          No trigger yet: <code>{addCommand}</code> <CopyButton text={addCommand} /> adds one.
        </p>
      ) : (
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
            {triggers.data.items.map((trigger) => (
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
      )}
      <Pager cursor={cursor} nextCursor={triggers.data?.nextCursor ?? null} onGo={(next) => void navigate({ search: { cursor: next } })} />
    </>
  );
}

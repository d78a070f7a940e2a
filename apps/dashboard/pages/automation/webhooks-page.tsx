import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { CopyButton } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './automation.module.css';
import { AutomationHeading, pollMs } from './automation-heading.tsx';
import { Newest } from './outgoing.tsx';

/** Their addresses may contain secrets. */
export const NotForRole = ({ what }: { what: string }) => <p>Your role may not see {what}: it takes a token of the role admin.</p>;

const addWebhook = 'cairn webhook add https://example.org/hook --events run.ended';
const addCodeHost = 'cairn help codehost add';

/** The receivers of signed messages about what happens here. */
export function WebhooksPage() {
  useTitle('Webhooks');
  useFollow('runs');
  const maySee = useMay('delivery.manage');
  return (
    <>
      <AutomationHeading title="Webhooks" cli="cairn webhook list" call={{ path: '/v1/webhooks' }} />
      {maySee ? <Webhooks /> : <NotForRole what="webhooks" />}
    </>
  );
}

function Webhooks() {
  const { client } = useServices();
  const webhooks = useQuery({ queryKey: keys.webhooks, queryFn: ({ signal }) => client.listWebhooks({ signal }), refetchInterval: pollMs });
  if (webhooks.error !== null) return <ProblemNotice error={webhooks.error} onRetry={() => void webhooks.refetch()} />;
  if (webhooks.data === undefined) return <p role="status">Loading …</p>;
  if (webhooks.data.items.length === 0) {
    return (
      <p className={tableClasses.empty}>
        No webhook yet: <code>{addWebhook}</code> <CopyButton text={addWebhook} /> adds one.
      </p>
    );
  }
  return (
    <Table name="Table of webhooks">
      <thead>
        <tr>
          <th>Name</th>
          <th>Address</th>
          <th>Events</th>
          <th data-number>Waiting</th>
          <th data-number>Given up</th>
          <th>Newest</th>
          <th>Added by</th>
        </tr>
      </thead>
      <tbody>
        {webhooks.data.items.map(({ id, name, url, events, pending, failed, newest, createdBy }) => (
          <tr key={id}>
            <th scope="row">
              <Link to="/webhooks/$name" params={{ name }} title="What was sent to it">
                {name}
              </Link>
            </th>
            <td className={classes.wide}>
              <code>{url}</code>
            </td>
            <td className={classes.wide}>{events.join(', ')}</td>
            <td data-number>{formatCount(pending)}</td>
            <td data-number>{formatCount(failed)}</td>
            <td>
              <Newest newest={newest} />
            </td>
            <td>{createdBy}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

/** The code hosts that get commit statuses and comments about runs. */
export function CodeHostsPage() {
  useTitle('Code hosts');
  useFollow('runs');
  const maySee = useMay('delivery.manage');
  return (
    <>
      <AutomationHeading title="Code hosts" cli="cairn codehost list" call={{ path: '/v1/code-hosts' }} />
      {maySee ? <CodeHosts /> : <NotForRole what="code hosts" />}
    </>
  );
}

function CodeHosts() {
  const { client } = useServices();
  const hosts = useQuery({ queryKey: keys.codeHosts, queryFn: ({ signal }) => client.listCodeHosts({ signal }), refetchInterval: pollMs });
  if (hosts.error !== null) return <ProblemNotice error={hosts.error} onRetry={() => void hosts.refetch()} />;
  if (hosts.data === undefined) return <p role="status">Loading …</p>;
  if (hosts.data.items.length === 0) {
    return (
      <p className={tableClasses.empty}>
        No code host yet: <code>{addCodeHost}</code> <CopyButton text={addCodeHost} /> says how to add one.
      </p>
    );
  }
  return (
    <Table name="Table of code hosts">
      <thead>
        <tr>
          <th>Name</th>
          <th>Address</th>
          <th>Repositories</th>
          <th data-number>Waiting</th>
          <th data-number>Given up</th>
          <th>Newest</th>
          <th>Added by</th>
        </tr>
      </thead>
      <tbody>
        {hosts.data.items.map(({ id, name, provider, url, repositories, pending, failed, newest, createdBy }) => (
          <tr key={id}>
            <th scope="row">
              <Link to="/code-hosts/$name" params={{ name }} title="What was reported to it">
                {name}
              </Link>
            </th>
            <td className={classes.wide}>
              {provider}, <code>{url}</code>
            </td>
            <td className={classes.wide}>{repositories.join(', ')}</td>
            <td data-number>{formatCount(pending)}</td>
            <td data-number>{formatCount(failed)}</td>
            <td>
              <Newest newest={newest} />
            </td>
            <td>{createdBy}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

import type { CodeHostView, WebhookView } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { codeHostsQuery, webhooksQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyButton } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import classes from './automation.module.css';
import { AdminsPage, pollMs } from './automation-heading.tsx';
import { Newest } from './outgoing.tsx';

const addWebhook = 'cairn webhook add https://example.org/hook --events run.ended';
const addCodeHost = 'cairn help codehost add';

/** The receivers of signed messages about what happens here. */
export function WebhooksPage() {
  return (
    <AdminsPage title="Webhooks" what="webhooks" cli="cairn webhook list" call={{ path: '/v1/webhooks' }}>
      <Webhooks />
    </AdminsPage>
  );
}

function Webhooks() {
  const { client } = useServices();
  const webhooks = useQuery({ ...webhooksQuery(client), refetchInterval: pollMs });
  return (
    <Answer of={webhooks}>
      {({ items }) =>
        items.length === 0 ? (
          <p className={tableClasses.empty}>
            No webhook yet: <code>{addWebhook}</code> <CopyButton text={addWebhook} /> adds one.
          </p>
        ) : (
          <Receivers
            name="Table of webhooks"
            about="Events"
            items={items}
            read={({ name, url, events }) => ({
              link: (
                <Link to="/webhooks/$name" params={{ name }} title="What was sent to it">
                  {name}
                </Link>
              ),
              address: <code>{url}</code>,
              about: events.join(', '),
            })}
          />
        )
      }
    </Answer>
  );
}

/** The code hosts that get commit statuses and comments about runs. */
export function CodeHostsPage() {
  return (
    <AdminsPage title="Code hosts" what="code hosts" cli="cairn codehost list" call={{ path: '/v1/code-hosts' }}>
      <CodeHosts />
    </AdminsPage>
  );
}

function CodeHosts() {
  const { client } = useServices();
  const hosts = useQuery({ ...codeHostsQuery(client), refetchInterval: pollMs });
  return (
    <Answer of={hosts}>
      {({ items }) =>
        items.length === 0 ? (
          <p className={tableClasses.empty}>
            No code host yet: <code>{addCodeHost}</code> <CopyButton text={addCodeHost} /> says how to add one.
          </p>
        ) : (
          <Receivers
            name="Table of code hosts"
            about="Repositories"
            items={items}
            read={({ name, provider, url, repositories }) => ({
              link: (
                <Link to="/code-hosts/$name" params={{ name }} title="What was reported to it">
                  {name}
                </Link>
              ),
              address: (
                <>
                  {provider}, <code>{url}</code>
                </>
              ),
              about: repositories.join(', '),
            })}
          />
        )
      }
    </Answer>
  );
}

type ReceiversProps<T> = {
  name: string;
  /** The head of the column that says what a receiver is told. */
  about: string;
  items: readonly T[];
  read: (item: T) => { link: ReactNode; address: ReactNode; about: string };
};

/** Receivers, with what waits for each, what was given up, and what came of the newest. */
function Receivers<T extends WebhookView | CodeHostView>({ name, about, items, read }: ReceiversProps<T>) {
  return (
    <Table name={name}>
      <thead>
        <tr>
          <th>Name</th>
          <th>Newest</th>
          <th data-number>Waiting</th>
          <th data-number>Given up</th>
          <th>Address</th>
          <th>{about}</th>
          <th>Added by</th>
        </tr>
      </thead>
      <tbody>
        {items.map((item) => {
          const shown = read(item);
          return (
            <tr key={item.id}>
              <th scope="row">{shown.link}</th>
              <td>
                <Newest newest={item.newest} />
              </td>
              <td data-number>{formatCount(item.pending)}</td>
              <td data-number>{formatCount(item.failed)}</td>
              <td className={classes.wide}>{shown.address}</td>
              <td className={classes.wide}>{shown.about}</td>
              <td>{item.createdBy}</td>
            </tr>
          );
        })}
      </tbody>
    </Table>
  );
}

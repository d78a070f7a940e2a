import type { DatasetView } from '@cairn/contract';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { datasetsQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyButton, CopyCall } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { Pager } from '../../parts/pager.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';

const addCommand = 'cairn dataset add NAME --root FOLDER --metadata FOLDER';

/** All datasets, every version, the newest first. */
export function DatasetsPage() {
  useTitle('Datasets');
  useFollow('runs');
  const { client } = useServices();
  const { cursor } = useSearch({ from: '/signed-in/datasets' });
  const navigate = useNavigate({ from: '/datasets' });
  const datasets = useQuery({ ...datasetsQuery(client, cursor), placeholderData: keepPreviousData });
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>Datasets</h1>
        <CopyCall cli="cairn datasets" call={{ path: '/v1/datasets' }} />
      </div>
      <Answer of={datasets}>
        {({ items }) =>
          items.length === 0 ? (
            <p className={tableClasses.empty}>
              No dataset yet: <code>{addCommand}</code> <CopyButton text={addCommand} /> registers one.
            </p>
          ) : (
            <Datasets items={items} />
          )
        }
      </Answer>
      <Pager cursor={cursor} nextCursor={datasets.data?.nextCursor ?? null} onGo={(next) => void navigate({ search: { cursor: next } })} />
    </>
  );
}

function Datasets({ items }: { items: readonly DatasetView[] }) {
  return (
    <Table name="Table of datasets">
      <thead>
        <tr>
          <th>Name</th>
          <th data-number>Version</th>
          <th>Kind</th>
          <th>Images</th>
          <th>Registered</th>
          <th>Owner</th>
          <th>Digest</th>
        </tr>
      </thead>
      <tbody>
        {items.map(({ id, name, version, source, createdAt, owner, digest, digestBasis }) => (
          <tr key={id}>
            <th scope="row">
              <Link to="/datasets/$name" params={{ name: `${name}@${version}` }}>
                {name}
              </Link>
            </th>
            <td data-number>{formatCount(version)}</td>
            <td>{source.kind === 'tars' ? 'tars' : 'folder'}</td>
            <td>
              <code>{source.root}</code>
            </td>
            <td>
              <Ago at={createdAt} />
            </td>
            <td>{owner}</td>
            <td>
              <code title={`${digest} (${digestBasis})`}>{digest.slice(0, 12)}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

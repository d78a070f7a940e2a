import { Button } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { CopyButton, CopyCall } from '../../parts/copy-call.tsx';
import { formatCount } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';

const pageSize = 50;
const addCommand = 'cairn dataset add NAME --root FOLDER --metadata FOLDER';

/** All datasets, every version, the newest first. */
export function DatasetsPage() {
  useTitle('Datasets');
  useFollow('runs');
  const { client } = useServices();
  const datasets = useInfiniteQuery({
    queryKey: [...keys.datasets, 'pages'],
    queryFn: ({ signal, pageParam }) =>
      client.listDatasets({ limit: pageSize, ...(pageParam === '' ? {} : { cursor: pageParam }) }, { signal }),
    initialPageParam: '',
    getNextPageParam: ({ nextCursor }) => nextCursor,
  });
  const items = datasets.data?.pages.flatMap((page) => page.items);
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>Datasets</h1>
        <CopyCall cli="cairn datasets" call={{ path: '/v1/datasets' }} />
      </div>
      {datasets.error !== null && <ProblemNotice error={datasets.error} onRetry={() => void datasets.refetch()} />}
      {items === undefined ? (
        datasets.error === null && <p role="status">Loading …</p>
      ) : items.length === 0 ? (
        <p className={tableClasses.empty}>
          No dataset yet: <code>{addCommand}</code> <CopyButton text={addCommand} /> registers one.
        </p>
      ) : (
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
      )}
      {datasets.hasNextPage && (
        <p>
          <Button variant="default" loading={datasets.isFetchingNextPage} onClick={() => void datasets.fetchNextPage()}>
            Show more
          </Button>
        </p>
      )}
    </>
  );
}

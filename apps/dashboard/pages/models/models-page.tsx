import type { ModelView } from '@cairn/contract';
import { Button } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { Link, useParams, useSearch } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Commit } from '../../parts/commit.tsx';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { LineageTree } from '../../parts/lineage-tree.tsx';
import { formatCount, formatMap } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './models.module.css';

const pageSize = 50;

/** All models, each with its newest version. */
export function ModelsPage() {
  useTitle('Models');
  return (
    <>
      <div className={classes.heading}>
        <h1>Models</h1>
        <CopyCall cli="cairn models" call={{ path: '/v1/models' }} />
      </div>
      <ModelTable name={null} />
    </>
  );
}

/** One model: where its aliases point, and its versions. */
export function ModelPage() {
  const { name } = useParams({ from: '/signed-in/models/$name' });
  useTitle(name);
  return (
    <>
      <div className={classes.heading}>
        <h1>{name}</h1>
        <CopyCall cli={`cairn models ${quoted(name)}`} call={{ path: `/v1/models/${encodeURIComponent(name)}` }} />
      </div>
      <Aliases name={name} />
      <ModelTable name={name} />
      <ModelLineage name={name} />
    </>
  );
}

/** What a version, by default the newest, was made from. */
function ModelLineage({ name }: { name: string }) {
  const { version } = useSearch({ from: '/signed-in/models/$name' });
  const { client } = useServices();
  const reference = version === undefined ? name : `${name}@${version}`;
  const lineage = useQuery({
    queryKey: [...keys.models, name, 'lineage', version],
    queryFn: ({ signal }) => client.getModelLineage(reference, { signal }),
  });
  // The table of versions says that the model was not found.
  if (lineage.data === undefined) {
    return version === undefined || lineage.error === null ? null : (
      <ProblemNotice error={lineage.error} onRetry={() => void lineage.refetch()} />
    );
  }
  const { model } = lineage.data.of;
  return (
    <section className={classes.lineage} aria-labelledby="lineage">
      <div className={classes.heading}>
        <h2 id="lineage">Lineage of {model}</h2>
        <CopyCall cli={`cairn lineage ${quoted(model ?? reference)}`} call={{ path: `/v1/models/${model ?? reference}/lineage` }} />
      </div>
      <LineageTree lineage={lineage.data} />
    </section>
  );
}

/** The versions of a model, or the newest version of every model, the newest first. */
function ModelTable({ name }: { name: string | null }) {
  const { client } = useServices();
  useFollow('runs');
  const models = useInfiniteQuery({
    queryKey: [...keys.models, name],
    queryFn: ({ signal, pageParam }) => {
      const query = { limit: pageSize, ...(pageParam === '' ? {} : { cursor: pageParam }) };
      return name === null ? client.listModels(query, { signal }) : client.listModelVersions(name, query, { signal });
    },
    initialPageParam: '',
    getNextPageParam: ({ nextCursor }) => nextCursor,
  });
  if (models.data === undefined) {
    return models.error === null ? (
      <p role="status">Loading …</p>
    ) : (
      <ProblemNotice error={models.error} onRetry={() => void models.refetch()} />
    );
  }
  const items = models.data.pages.flatMap((page) => page.items);
  if (items.length === 0) {
    return (
      <p className={classes.empty}>
        No model yet: a run whose recipe ends with a step of the kind <code>register</code> makes one.
      </p>
    );
  }
  return (
    <>
      <Table name={name === null ? 'Table of models' : 'Table of versions'}>
        <thead>
          <tr>
            {name === null && <th>Name</th>}
            <th data-number>{name === null ? 'Newest version' : 'Version'}</th>
            <th>Aliases</th>
            <th data-number title="With its 95 % interval over the queries">
              mAP@100
            </th>
            <th data-number title="mAP@100 over the queries of Kaggle's public score">
              Public
            </th>
            <th data-number title="mAP@100 over the queries of Kaggle's private score">
              Private
            </th>
            <th data-number>Trained for</th>
            <th>Registered</th>
            <th>Owner</th>
            <th>Commit</th>
            <th>Run</th>
          </tr>
        </thead>
        <tbody>
          {items.map((model) => (
            <Version key={model.id} model={model} hasName={name === null} />
          ))}
        </tbody>
      </Table>
      {models.hasNextPage && (
        <p>
          <Button variant="default" loading={models.isFetchingNextPage} onClick={() => void models.fetchNextPage()}>
            Show more
          </Button>
        </p>
      )}
    </>
  );
}

function Version({ model, hasName }: { model: ModelView; hasName: boolean }) {
  const { name, version, aliases, metrics, createdAt, owner, source, runId } = model;
  const { mapAt100, mapAt100Low: low, mapAt100High: high, trainedEpochs: epochs } = metrics;
  return (
    <tr>
      {hasName && (
        <th scope="row">
          <Link to="/models/$name" params={{ name }}>
            {name}
          </Link>
        </th>
      )}
      <td data-number>
        <Link to="/models/$name" params={{ name }} search={{ version }} resetScroll={false} title="What it was made from">
          {formatCount(version)}
        </Link>
      </td>
      <td>{aliases.length === 0 ? <None /> : aliases.join(', ')}</td>
      <td data-number>
        {model.artifacts.evaluation === undefined ? (
          <Score value={mapAt100} />
        ) : (
          <Link to="/evaluation" search={{ of: `${name}@${version}` }} title="Its queries, and what was found for each">
            <Score value={mapAt100} />
          </Link>
        )}
        {low !== undefined && high !== undefined && (
          <span className={classes.dim}>
            {' '}
            ({formatMap(low)} to {formatMap(high)})
          </span>
        )}
      </td>
      <td data-number>
        <Score value={metrics.mapAt100Public} />
      </td>
      <td data-number>
        <Score value={metrics.mapAt100Private} />
      </td>
      <td data-number>{epochs === undefined ? <None /> : `${formatCount(epochs)} ${epochs === 1 ? 'epoch' : 'epochs'}`}</td>
      <td>
        <Ago at={createdAt} />
      </td>
      <td>{owner}</td>
      <td>{source === null ? <None /> : <Commit source={source} />}</td>
      <td>
        <Link to="/runs/$runId" params={{ runId }} title={runId}>
          run …{runId.slice(-6)}
        </Link>
      </td>
    </tr>
  );
}

const None = () => <span className={classes.dim}>-</span>;
const Score = ({ value }: { value: number | undefined }) => (value === undefined ? <None /> : formatMap(value));

/** Which versions the aliases name, and why. */
function Aliases({ name }: { name: string }) {
  const { client } = useServices();
  const aliases = useQuery({
    queryKey: [...keys.models, name, 'aliases'],
    queryFn: ({ signal }) => client.listAliases(name, { signal }),
  });
  // The table of versions says what is wrong, such as an unknown name.
  if (aliases.data === undefined || aliases.data.items.length === 0) return null;
  return (
    <ul className={classes.aliases} aria-label="Aliases">
      {aliases.data.items.map(({ alias, version, reason, movedBy, movedAt }) => (
        <li key={alias}>
          <strong>{alias}</strong> is version {formatCount(version)}: {reason}{' '}
          <span className={classes.dim}>
            ({movedBy}, <Ago at={movedAt} />)
          </span>
        </li>
      ))}
    </ul>
  );
}

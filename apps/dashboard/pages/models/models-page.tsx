import type { ModelView } from '@cairn/contract';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { modelsQuery } from '../../app/queries.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { Commit } from '../../parts/commit.tsx';
import { CopyCall, quoted } from '../../parts/copy-call.tsx';
import { LineageTree } from '../../parts/lineage-tree.tsx';
import { formatCount, formatMap } from '../../parts/numbers.ts';
import { Pager } from '../../parts/pager.tsx';
import { ProblemNotice } from '../../parts/problem.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './models.module.css';

/** All models, each with its newest version. */
export function ModelsPage() {
  const { cursor } = useSearch({ from: '/signed-in/models' });
  const navigate = useNavigate({ from: '/models' });
  useTitle('Models');
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>Models</h1>
        <CopyCall cli="cairn models" call={{ path: '/v1/models' }} />
      </div>
      <ModelTable name={null} cursor={cursor} onGo={(next) => void navigate({ search: { cursor: next } })} />
    </>
  );
}

/** One model: where its aliases point, and its versions. */
export function ModelPage() {
  const { name } = useParams({ from: '/signed-in/models/$name' });
  const { version, cursor } = useSearch({ from: '/signed-in/models/$name' });
  const navigate = useNavigate({ from: '/models/$name' });
  useTitle(name);
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>{name}</h1>
        <CopyCall cli={`cairn models ${quoted(name)}`} call={{ path: `/v1/models/${encodeURIComponent(name)}` }} />
      </div>
      <Aliases name={name} />
      <ModelTable name={name} cursor={cursor} onGo={(next) => void navigate({ search: { version, cursor: next }, resetScroll: false })} />
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
      <div className={tableClasses.heading}>
        <h2 id="lineage">Lineage of {model}</h2>
        <CopyCall cli={`cairn lineage ${quoted(model ?? reference)}`} call={{ path: `/v1/models/${model ?? reference}/lineage` }} />
      </div>
      <LineageTree lineage={lineage.data} />
    </section>
  );
}

type ModelTableProps = { name: string | null; cursor: string | undefined; onGo: (cursor: string | undefined) => void };

/** The versions of a model, or the newest version of every model, the newest first. */
function ModelTable({ name, cursor, onGo }: ModelTableProps) {
  const { client } = useServices();
  useFollow('runs');
  const models = useQuery({ ...modelsQuery(client, name, cursor), placeholderData: keepPreviousData });
  return (
    <Answer of={models}>
      {({ items, nextCursor }) => (
        <>
          {items.length === 0 ? (
            <p className={tableClasses.empty}>
              No model yet: a run whose recipe ends with a step of the kind <code>register</code> makes one.
            </p>
          ) : (
            <Versions items={items} hasName={name === null} />
          )}
          <Pager cursor={cursor} nextCursor={nextCursor} onGo={onGo} />
        </>
      )}
    </Answer>
  );
}

function Versions({ items, hasName }: { items: readonly ModelView[]; hasName: boolean }) {
  return (
    <Table name={hasName ? 'Table of models' : 'Table of versions'}>
      <thead>
        <tr>
          {hasName && <th>Name</th>}
          <th data-number>{hasName ? 'Newest version' : 'Version'}</th>
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
          <Version key={model.id} model={model} hasName={hasName} />
        ))}
      </tbody>
    </Table>
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

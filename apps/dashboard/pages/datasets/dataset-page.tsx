import type { DatasetUsage } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import { datasetQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { Answer } from '../../parts/answer.tsx';
import { CopyButton, CopyCall, quoted } from '../../parts/copy-call.tsx';
import { type Fact, Facts } from '../../parts/facts.tsx';
import { runLooks } from '../../parts/looks.ts';
import { formatCount, formatCounted } from '../../parts/numbers.ts';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import tableClasses from '../../parts/table.module.css';
import { Table } from '../../parts/table.tsx';
import { Ago } from '../../parts/time.tsx';
import { useTitle } from '../../parts/title.ts';
import classes from './datasets.module.css';
import { ListContents } from './list-contents.tsx';

/** One version of a dataset: where it is, its lists, and what was made from it. */
export function DatasetPage() {
  const { name } = useParams({ from: '/signed-in/datasets/$name' });
  const { client } = useServices();
  useTitle(name);
  useFollow('runs');
  const usage = useQuery(datasetQuery(client, name));
  return (
    <>
      <div className={tableClasses.heading}>
        <h1>{usage.data === undefined ? name : `${usage.data.dataset.name}@${usage.data.dataset.version}`}</h1>
        <CopyCall cli={`cairn dataset show ${quoted(name)}`} call={{ path: `/v1/datasets/${encodeURIComponent(name)}/usage` }} />
      </div>
      <Answer of={usage}>{(data) => <Dataset usage={data} />}</Answer>
    </>
  );
}

function Dataset({ usage: { dataset, versions, lists, runs, models } }: { usage: DatasetUsage }) {
  const maySubmit = useMay('run.submit');
  const { name, version, source, owner, createdAt, digest, digestBasis } = dataset;
  const reference = `${name}@${version}`;
  const facts: Fact[] = [
    ['Kind', source.kind === 'tars' ? 'the official tars' : 'a folder of images'],
    ['Images', <code key="images">{source.root}</code>],
    ['Metadata', <code key="metadata">{source.metadata}</code>],
    ...(source.countries === null ? [] : [['Countries', <code key="countries">{source.countries}</code>] satisfies Fact]),
    ['Registered', <Ago key="registered" at={createdAt} />],
    ['Owner', owner],
    [
      'Digest',
      <span key="digest" title={digestBasis}>
        <code>{digest.slice(0, 16)}</code> <CopyButton text={digest} />
      </span>,
    ],
  ];
  return (
    <div className={classes.page}>
      <Facts facts={facts} />
      <section aria-labelledby="lists">
        <h2 id="lists">Lists</h2>
        {lists.length === 0 ? (
          <p className={tableClasses.empty}>
            No run has prepared its lists yet.{' '}
            {maySubmit && (
              <Link to="/submit" search={{ dataset: reference }}>
                Submit a run on it
              </Link>
            )}
          </p>
        ) : (
          <Lists lists={lists} />
        )}
      </section>
      <ListContents dataset={reference} lists={lists} />
      <div className={classes.columns}>
        <section aria-labelledby="runs">
          <h2 id="runs">Used by {formatCounted(runs.total, 'run')}</h2>
          <ul className={classes.items}>
            {runs.items.map((run) => (
              <li key={run.id}>
                <StateBadge look={runLooks[run.state]} />
                <Link to="/runs/$runId" params={{ runId: run.id }}>
                  {run.name}
                </Link>
                <span className={tableClasses.dim}>
                  {run.owner}, <Ago at={run.createdAt} />
                </span>
              </li>
            ))}
          </ul>
          {runs.total > runs.items.length && <p className={tableClasses.dim}>The newest {runs.items.length}.</p>}
        </section>
        <section aria-labelledby="models">
          <h2 id="models">Models trained on it</h2>
          {models.total === 0 && <p className={tableClasses.dim}>None yet.</p>}
          <ul className={classes.items}>
            {models.items.map((model) => (
              <li key={`${model.name}@${model.version}`}>
                <Link to="/models/$name" params={{ name: model.name }} search={{ version: model.version }}>
                  {model.name}@{model.version}
                </Link>
                <span className={tableClasses.dim}>
                  <Ago at={model.createdAt} />
                </span>
              </li>
            ))}
          </ul>
          {models.total > models.items.length && <p className={tableClasses.dim}>The newest of {formatCount(models.total)}.</p>}
        </section>
        <section aria-labelledby="versions">
          <h2 id="versions">Versions</h2>
          <ul className={classes.items}>
            {versions.map((one) => (
              <li key={one.version}>
                <Link
                  to="/datasets/$name"
                  params={{ name: `${name}@${one.version}` }}
                  {...(one.version === version ? { 'aria-current': 'page' } : {})}
                >
                  {name}@{one.version}
                </Link>
                <span className={tableClasses.dim}>
                  <code>{one.digest.slice(0, 12)}</code>, {one.owner}, <Ago at={one.createdAt} />
                </span>
              </li>
            ))}
          </ul>
        </section>
      </div>
    </div>
  );
}

/** The lists with their counts, beside the largest of them. */
function Lists({ lists }: { lists: DatasetUsage['lists'] }) {
  const most = Math.max(...lists.map(({ rows }) => rows), 1);
  return (
    <Table name="Table of lists">
      <thead>
        <tr>
          <th>List</th>
          <th data-number>Rows</th>
          <th aria-label="Share of the largest list" />
          <th data-number>Images</th>
          <th data-number title="Of the label space">
            Classes
          </th>
          <th data-number>Images per class</th>
          <th>Artifact</th>
        </tr>
      </thead>
      <tbody>
        {lists.map(({ name, rows, images, classes: labels, artifactId }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td data-number>{formatCount(rows)}</td>
            <td>
              <ProgressBar share={rows / most} colour="blue" label={`${name} beside the largest list`} />
            </td>
            <td data-number>{formatCount(images)}</td>
            <td data-number>{labels === null ? '-' : formatCount(labels)}</td>
            <td data-number>{labels === null || labels === 0 ? '-' : formatCount(Number((images / labels).toPrecision(2)))}</td>
            <td>
              <code>{artifactId}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

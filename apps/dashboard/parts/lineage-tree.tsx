import { type Lineage, type LineageLine, type LineageNode, lineageCommits, lineageTree } from '@cairn/contract';
import { Link } from '@tanstack/react-router';
import type { CSSProperties, ReactNode } from 'react';
import { Commit } from './commit.tsx';
import classes from './lineage-tree.module.css';
import { stepLooks } from './looks.ts';
import { formatCount, formatMap } from './numbers.ts';
import { StateBadge } from './state-badge.tsx';
import { Ago } from './time.tsx';

/** What something was made from, as an indented list: each node is below what reads it. */
export function LineageTree({ lineage }: { lineage: Lineage }) {
  const commits = lineageCommits(lineage);
  return (
    <>
      {commits.length > 0 && (
        <ul className={classes.commits} aria-label="Commits">
          {commits.map(({ source, runs }) => (
            <li key={`${source.commit} ${source.ref}`}>
              <span className={classes.role}>{runs.includes(lineage.of.run.name) ? 'commit' : `commit of ${runs.join(', ')}`}</span>{' '}
              <Commit source={source} />
            </li>
          ))}
        </ul>
      )}
      <ul className={classes.tree} aria-label="Lineage">
        {lineageTree(lineage).map((line, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a node may have several lines
          <li key={index} style={depthOf(line)}>
            <Line line={line} runId={lineage.of.run.id} />
          </li>
        ))}
      </ul>
      {!lineage.isComplete && <p className={classes.dim}>More nodes than can be shown.</p>}
    </>
  );
}

/** The style sheet indents by it. */
const depthOf = ({ depth }: LineageLine): CSSProperties => ({ ['--depth' as keyof CSSProperties]: depth });

function Line({ line: { node, role, lists, isRepeated }, runId }: { line: LineageLine; runId: string }) {
  return (
    <>
      {role !== null && (
        <span className={classes.role}>
          {role}
          {lists.length > 0 && ` ${lists.join(', ')}`}
        </span>
      )}
      <Title node={node} runId={runId} />
      {isRepeated ? <span className={classes.dim}>shown elsewhere in the list</span> : <Facts node={node} />}
    </>
  );
}

function Title({ node, runId }: { node: LineageNode; runId: string }) {
  switch (node.type) {
    case 'step':
      return (
        <>
          <StateBadge look={stepLooks[node.state]} />
          <Link to="/runs/$runId" params={{ runId: node.run.id }} search={{ step: node.step }}>
            {node.run.id === runId ? node.step : `${node.run.name} / ${node.step}`}
          </Link>
        </>
      );
    case 'dataset':
      return (
        <Link to="/datasets/$name" params={{ name: `${node.name}@${node.version}` }}>
          dataset {node.name}@{node.version}
        </Link>
      );
    case 'weights':
      return <strong>weights {node.name}</strong>;
    case 'artifact':
      return <strong>{node.name}</strong>;
  }
}

function Facts({ node }: { node: LineageNode }): ReactNode {
  switch (node.type) {
    case 'step': {
      const map = node.scores['mapAt100.end'] ?? node.scores.mapAt100;
      return (
        <>
          {map !== undefined && <span>mAP@100 {formatMap(map)}</span>}
          {node.reusedFrom !== null && (
            <span className={classes.dim}>
              from{' '}
              <Link to="/runs/$runId" params={{ runId: node.reusedFrom.runId }}>
                {node.reusedFrom.runName}
              </Link>
            </span>
          )}
          {node.finishedAt !== null && (
            <span className={classes.dim}>
              <Ago at={node.finishedAt} />
            </span>
          )}
          {node.artifact !== null && (
            <code
              className={classes.id}
              title={node.artifact.digest === null ? undefined : `SHA-256 of its content: ${node.artifact.digest}`}
            >
              {node.artifact.id}
            </code>
          )}
          {node.lists.length > 0 && (
            <span className={classes.note}>
              {node.lists
                .map(
                  ({ name, rows, classes: labels }) =>
                    `${name} ${formatCount(rows)}${labels === null ? '' : ` of ${formatCount(labels)} classes`}`,
                )
                .join(', ')}
            </span>
          )}
        </>
      );
    }
    case 'dataset':
      return <Digest value={node.digest} />;
    case 'weights':
      return (
        <>
          <span>{node.backbone}</span>
          <Digest value={node.sha256} />
          <span className={classes.note}>
            {[node.source, node.licence, `imported by ${node.owner}`].filter((one) => one !== null).join(', ')}
          </span>
        </>
      );
    case 'artifact':
      return node.digest === null ? null : <Digest value={node.digest} />;
  }
}

const Digest = ({ value }: { value: string }) => (
  <code className={classes.dim} title={`SHA-256: ${value}`}>
    {value.slice(0, 16)}
  </code>
);

import { isEndedRun, labelTexts, type RunListItem, type RunSortKey } from '@cairn/contract';
import type { ReactNode } from 'react';
import { runLooks } from '../../parts/looks.ts';
import { formatCount, formatGpuHours, formatMap, formatShare } from '../../parts/numbers.ts';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './runs.module.css';
import type { ColumnId } from './runs-search.ts';

export type Column = {
  title: string;
  /** Explained on hover. */
  hint?: string;
  width: string;
  isNumber?: true;
  sort?: RunSortKey;
  /** Which order a first click gives. */
  firstOrder?: 'descending';
  cell: (run: RunListItem) => ReactNode;
};

const none = <span className={classes.none}>-</span>;
const score = (value: number | null): ReactNode => (value === null ? none : formatMap(value));

export const runColumns: Record<ColumnId, Column> = {
  state: { title: 'State', width: '8rem', sort: 'state', cell: (run) => <StateBadge look={runLooks[run.state]} /> },
  progress: { title: 'Progress', width: '13.7rem', cell: (run) => <Progress run={run} /> },
  mapLast: {
    title: 'mAP last',
    hint: 'mAP@100 of the last step that has one',
    width: '5.6rem',
    isNumber: true,
    cell: (run) => score(run.mapAt100.last),
  },
  mapBest: {
    title: 'mAP best',
    hint: 'The best mAP@100 of all stages and evaluations',
    width: '6rem',
    isNumber: true,
    sort: 'mapAt100',
    firstOrder: 'descending',
    cell: (run) => score(run.mapAt100.best),
  },
  gpuHours: {
    title: 'GPU time',
    hint: 'GPU time of all attempts so far. Sorted by that of attempts that have ended',
    width: '7.6rem',
    isNumber: true,
    sort: 'gpuSeconds',
    firstOrder: 'descending',
    cell: (run) => formatGpuHours(run.gpuSeconds),
  },
  created: {
    title: 'Created',
    width: '6.5rem',
    sort: 'createdAt',
    firstOrder: 'descending',
    cell: (run) => <Ago at={run.createdAt} />,
  },
  updated: {
    title: 'Updated',
    hint: 'When its last event was',
    width: '6.5rem',
    sort: 'updatedAt',
    firstOrder: 'descending',
    cell: (run) => <Ago at={run.updatedAt} />,
  },
  recipe: { title: 'Recipe', width: '7.5rem', cell: (run) => <Text value={run.recipe} /> },
  dataset: { title: 'Dataset', width: '9rem', cell: (run) => <Text value={run.dataset} /> },
  owner: { title: 'Owner', width: '6.8rem', cell: (run) => <Text value={run.owner} /> },
  labels: { title: 'Labels', width: '10rem', cell: (run) => <Text value={labelTexts(run.labels).join(', ')} /> },
  tags: { title: 'Tags', width: '9rem', cell: (run) => <Text value={run.tags.join(', ')} /> },
  note: { title: 'Note', hint: 'Its first line', width: '14rem', cell: (run) => <Text value={run.noteLine ?? ''} /> },
  priority: { title: 'Priority', width: '5.5rem', isNumber: true, cell: (run) => formatCount(run.priority) },
};

/** One line; the whole text on hover. */
function Text({ value }: { value: string }) {
  return (
    <span className={classes.line} title={value}>
      {value}
    </span>
  );
}

/** How far a run is, and what it does now. */
function Progress({ run }: { run: RunListItem }) {
  const { total, done, reused } = run.steps;
  const steps = `${formatCount(done)} of ${formatCount(total)} steps${reused === 0 ? '' : `, ${formatCount(reused)} reused`}`;
  return (
    <div className={classes.progress}>
      {!isEndedRun(run.state) && (
        <span className={classes.share}>
          <ProgressBar share={run.share} colour={runLooks[run.state].colour} label={`Progress of ${run.name}`} />
          <span>{formatShare(run.share)}</span>
        </span>
      )}
      <Text value={run.now ?? steps} />
    </div>
  );
}

import type { ShardGrid } from '@cairn/contract';
import { Button } from '@mantine/core';
import { formatCount } from '../../parts/numbers.ts';
import { StateBadge } from '../../parts/state-badge.tsx';
import classes from './extraction.module.css';
import { shardLooks, shardOf } from './shard-text.ts';

const pageSize = 20;

type ShardTableProps = { grid: ShardGrid; selected: number; onSelect: (shard: number) => void };

/** The shards around the selected one, a page at a time. */
export function ShardTable({ grid, selected, onSelect }: ShardTableProps) {
  const first = Math.floor(selected / pageSize) * pageSize;
  const count = grid.states.length;
  const shards = Array.from({ length: Math.min(pageSize, count - first) }, (_, at) => shardOf(grid, first + at));
  return (
    <section aria-label="Table of shards" className={classes.card}>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard. */}
      <section className={classes.scroll} tabIndex={0} aria-label="Shards of this page">
        <table className={classes.table}>
          <thead>
            <tr>
              <th data-number>Shard</th>
              <th>State</th>
              <th data-number>Worker</th>
              <th data-number>Time</th>
              <th data-number>Rejected</th>
              <th data-number>Tries</th>
            </tr>
          </thead>
          <tbody>
            {shards.map(({ index, state, worker, seconds, rejected, tries }) => (
              <tr key={index} data-selected={index === selected}>
                <th scope="row" data-number>
                  <button type="button" onClick={() => onSelect(index)} aria-current={index === selected}>
                    {index}
                  </button>
                </th>
                <td>
                  <StateBadge look={shardLooks[state]} />
                </td>
                <td data-number>{worker ?? ''}</td>
                <td data-number>{seconds === null ? '' : `${seconds.toFixed(1)} s`}</td>
                <td data-number>{rejected === 0 ? '' : formatCount(rejected)}</td>
                <td data-number>{tries}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      <p className={classes.pages}>
        <Button variant="default" disabled={first === 0} onClick={() => onSelect(first - pageSize)}>
          Previous
        </Button>
        <span>
          {formatCount(first)} to {formatCount(Math.min(count, first + pageSize) - 1)} of {formatCount(count)}
        </span>
        <Button variant="default" disabled={first + pageSize >= count} onClick={() => onSelect(first + pageSize)}>
          Next
        </Button>
      </p>
    </section>
  );
}

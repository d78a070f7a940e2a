import { defaultRunSort, type RunListItem, type RunSort, type RunSortKey } from '@cairn/contract';
import { Link } from '@tanstack/react-router';
import { type FocusEvent, memo } from 'react';
import { Icon } from '../../parts/icon.tsx';
import classes from './runs.module.css';
import { type Column, runColumns } from './runs-columns.tsx';
import type { ChangeSelection, ColumnId } from './runs-search.ts';

type Props = {
  rows: readonly RunListItem[];
  columns: readonly ColumnId[];
  sort: RunSort | undefined;
  onSort: (sort: RunSort) => void;
  selected: readonly string[];
  onSelect: ChangeSelection;
  /** True while the pointer or the focus is in the rows. */
  onHold: (isHeld: boolean) => void;
  isLoading: boolean;
};

const nameColumn: Column = { title: 'Name', width: '14rem', sort: 'name', cell: () => null };

/** The runs of one page. Its columns have fixed widths, so that what arrives moves nothing. */
export function RunsTable({ rows, columns, sort = defaultRunSort, onSort, selected, onSelect, onHold, isLoading }: Props) {
  const shown = columns.map((id) => ({ id, ...runColumns[id] }));
  const ids = rows.map(({ id }) => id);
  const chosen = new Set(selected);
  const isAll = ids.every((id) => chosen.has(id));
  const leave = (event: FocusEvent<HTMLElement>) => event.currentTarget.contains(event.relatedTarget) || onHold(false);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section className={classes.scroll} aria-label="Table of runs" tabIndex={0}>
      <table className={classes.table} aria-busy={isLoading}>
        <colgroup>
          <col style={{ width: '2.5rem' }} />
          <col className={classes.nameWidth} />
          {shown.map(({ id, width }) => (
            <col key={id} style={{ width }} />
          ))}
        </colgroup>
        <thead>
          <tr>
            <th className={classes.check}>
              <input
                type="checkbox"
                aria-label="Select all runs of this page"
                checked={isAll}
                onChange={() => onSelect((old) => (isAll ? old.filter((id) => !ids.includes(id)) : [...new Set([...old, ...ids])]))}
              />
            </th>
            <Heading column={nameColumn} sort={sort} onSort={onSort} />
            {shown.map((column) => (
              <Heading key={column.id} column={column} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody onPointerEnter={() => onHold(true)} onPointerLeave={() => onHold(false)} onFocus={() => onHold(true)} onBlur={leave}>
          {rows.map((run) => (
            <Row key={run.id} run={run} columns={columns} isSelected={chosen.has(run.id)} onSelect={onSelect} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

const orderOf = (key: RunSortKey, sort: RunSort) => (sort === key ? 'ascending' : sort === `-${key}` ? 'descending' : undefined);

function Heading({ column, sort, onSort }: { column: Column; sort: RunSort; onSort: (sort: RunSort) => void }) {
  const { title, hint, sort: key, firstOrder, isNumber } = column;
  const order = key === undefined ? undefined : orderOf(key, sort);
  const next = (by: RunSortKey): RunSort => {
    const isDescending = order === undefined ? firstOrder === 'descending' : order === 'ascending';
    return isDescending ? `-${by}` : by;
  };
  return (
    <th scope="col" aria-sort={order} data-number={isNumber} title={hint}>
      {key === undefined ? (
        title
      ) : (
        <button type="button" className={classes.sort} onClick={() => onSort(next(key))}>
          {title}
          {order !== undefined && <Icon name={order === 'ascending' ? 'up' : 'down'} size={12} />}
        </button>
      )}
    </th>
  );
}

type RowProps = {
  run: RunListItem;
  columns: readonly ColumnId[];
  isSelected: boolean;
  onSelect: ChangeSelection;
};

/** Renders again only when its run changed. */
const Row = memo(function Row({ run, columns, isSelected, onSelect }: RowProps) {
  return (
    <tr aria-selected={isSelected}>
      <td className={classes.check}>
        <input
          type="checkbox"
          aria-label={`Select ${run.name}`}
          checked={isSelected}
          onChange={() => onSelect((old) => (old.includes(run.id) ? old.filter((id) => id !== run.id) : [...old, run.id]))}
        />
      </td>
      <th scope="row" className={classes.name}>
        <Link to="/runs/$runId" params={{ runId: run.id }} title={`${run.name} (${run.id})`}>
          {run.name}
        </Link>
      </th>
      {columns.map((id) => (
        <td key={id} data-number={runColumns[id].isNumber}>
          {runColumns[id].cell(run)}
        </td>
      ))}
    </tr>
  );
});

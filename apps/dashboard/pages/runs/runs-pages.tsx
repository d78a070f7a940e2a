import { Link, useLocation } from '@tanstack/react-router';
import { z } from 'zod';
import { formatCount } from '../../parts/numbers.ts';
import classes from './runs.module.css';
import { pageSize } from './runs-query.ts';
import type { RunsSearch } from './runs-search.ts';

/** The positions of the earlier pages, kept in the history: a position leads only forward. */
const earlierPages = z.object({ earlier: z.array(z.string().nullable()) }).catch({ earlier: [] });

type Props = { search: RunsSearch; page: { nextCursor: string | null; total: number }; count: number; moved: boolean };

/** Which rows these are, and the links to the pages before and after. */
export function RunsPages({ search, page, count, moved }: Props) {
  const { earlier } = earlierPages.parse(useLocation().state);
  const number = search.page ?? 1;
  const first = (number - 1) * pageSize + 1;
  const before = earlier.at(-1);
  const at = (cursor: string | null | undefined, toNumber: number, state: (string | null)[], label: string) => (
    <Link
      to="/runs"
      search={{ ...search, cursor: cursor ?? undefined, page: toNumber < 2 ? undefined : toNumber }}
      state={(old) => ({ ...old, earlier: state })}
    >
      {label}
    </Link>
  );
  return (
    <nav className={classes.pages} aria-label="Pages of runs">
      <span>
        {formatCount(first)} to {formatCount(first + count - 1)} of {formatCount(page.total)}
      </span>
      {number > 1 && at(null, 1, [], 'First')}
      {before !== undefined && number > 1 && at(before, number - 1, earlier.slice(0, -1), 'Previous')}
      {page.nextCursor !== null && at(page.nextCursor, number + 1, [...earlier, search.cursor ?? null], 'Next')}
      <span role="status">{moved && 'The order has changed: it is shown when the pointer and the focus leave the rows.'}</span>
    </nav>
  );
}

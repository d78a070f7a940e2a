import { Button } from '@mantine/core';
import classes from './pager.module.css';

type PagerProps = {
  /** Of the page that is shown; undefined on the first. */
  cursor: string | undefined;
  /** Of the page after it; null on the last. */
  nextCursor: string | null;
  onGo: (cursor: string | undefined) => void;
};

/** To the first and to the next page of a list; nothing where there is one page. */
export function Pager({ cursor, nextCursor, onGo }: PagerProps) {
  if (cursor === undefined && nextCursor === null) return null;
  return (
    <nav aria-label="Pages of the list" className={classes.pager}>
      {cursor !== undefined && (
        <Button variant="default" onClick={() => onGo(undefined)}>
          First page
        </Button>
      )}
      {nextCursor !== null && (
        <Button variant="default" onClick={() => onGo(nextCursor)}>
          Next page
        </Button>
      )}
    </nav>
  );
}

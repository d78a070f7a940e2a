import type { ReactNode } from 'react';
import classes from './table.module.css';

/** A table that scrolls itself, so that its head stays in sight. Cells with numbers have `data-number`. */
export function Table({ name, children }: { name: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a part that scrolls must be reachable by keyboard.
    <section className={classes.scroll} tabIndex={0} aria-label={name}>
      <table className={classes.table}>{children}</table>
    </section>
  );
}

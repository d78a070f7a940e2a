import { Link, Outlet } from '@tanstack/react-router';
import { useEffect } from 'react';
import classes from './layout.module.css';
import { useServices } from './services.ts';

/** The header, and the page below it. */
export function Layout() {
  const { live } = useServices();
  useEffect(() => live.start(), [live]);
  return (
    <>
      <header className={classes.header}>
        <Link to="/">Cairn</Link>
        <nav aria-label="Pages">
          <Link to="/runs">Runs</Link>
        </nav>
      </header>
      <main className={classes.main}>
        <Outlet />
      </main>
    </>
  );
}

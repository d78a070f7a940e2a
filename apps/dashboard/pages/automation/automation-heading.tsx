import { Link } from '@tanstack/react-router';
import { useMay } from '../../app/me.ts';
import { type Call, CopyCall } from '../../parts/copy-call.tsx';
import tableClasses from '../../parts/table.module.css';
import classes from './automation.module.css';

/** What starts runs, and what is told about them, is changed elsewhere: these answers are read again after this time. */
export const pollMs = 10_000;
/** Rows of a page. */
export const pageSize = 50;

/** The title of a page, and the way to the other pages about what starts runs and what is told about them. */
export function AutomationHeading({ title, cli, call }: { title: string; cli: string; call: Call }) {
  const maySend = useMay('delivery.manage');
  return (
    <>
      <nav aria-label="Automation" className={classes.nav}>
        <Link to="/schedules">Schedules</Link>
        <Link to="/triggers">Triggers</Link>
        {maySend && <Link to="/webhooks">Webhooks</Link>}
        {maySend && <Link to="/code-hosts">Code hosts</Link>}
      </nav>
      <div className={tableClasses.heading}>
        <h1>{title}</h1>
        <CopyCall cli={cli} call={call} />
      </div>
    </>
  );
}

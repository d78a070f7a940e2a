import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useFollow } from '../../app/follow.ts';
import { useMay } from '../../app/me.ts';
import choices from '../../parts/choices.module.css';
import { type Call, CopyCall } from '../../parts/copy-call.tsx';
import tableClasses from '../../parts/table.module.css';
import { useTitle } from '../../parts/title.ts';

/** What starts runs, and what is told about them, is changed elsewhere: these answers are read again after this time. */
export const pollMs = 10_000;

type HeadingProps = { title: string; cli: string; call: Call };

/** The title of a page, and the way to the other pages about what starts runs and what is told about them. */
export function AutomationHeading({ title, cli, call }: HeadingProps) {
  const maySend = useMay('delivery.manage');
  useTitle(title);
  useFollow('runs');
  return (
    <>
      <nav aria-label="Automation" className={choices.choices}>
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

/** A page for admins about receivers, `what`: their addresses may contain secrets. */
export function AdminsPage({ what, children, ...heading }: HeadingProps & { what: string; children: ReactNode }) {
  const maySee = useMay('delivery.manage');
  return (
    <>
      <AutomationHeading {...heading} />
      {maySee ? children : <p>Your role may not see {what}: it takes a token of the role admin.</p>}
    </>
  );
}

import { fleetKinds, type RunView, type StepKind } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link, useParams, useSearch } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { useFollow } from '../../app/follow.ts';
import { runQuery } from '../../app/queries.ts';
import { useServices } from '../../app/services.ts';
import { runLooks } from '../../parts/looks.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { useTitle } from '../../parts/title.ts';
import { FailureCards } from './failure-card.tsx';
import { Judgements } from './judgements.tsx';
import classes from './run.module.css';
import { RunHeader } from './run-header.tsx';
import { RunNotes } from './run-notes.tsx';
import { type RunTab, runTabs } from './run-search.ts';
import { StepsTab } from './steps-tab.tsx';

type TabProps = { run: RunView };

const tabs = {
  steps: { label: 'Steps', Content: StepsTab },
  timeline: { label: 'Timeline', Content: lazy(() => import('./timeline-tab.tsx')) },
  training: { label: 'Training', Content: lazy(() => import('./training-tab.tsx')) },
  extraction: { label: 'Extraction', Content: lazy(() => import('../extraction/extraction-tab.tsx')) },
  logs: { label: 'Logs', Content: lazy(() => import('./logs-tab.tsx')) },
  events: { label: 'Events', Content: lazy(() => import('./events-tab.tsx')) },
  settings: { label: 'Settings', Content: lazy(() => import('./settings-tab.tsx')) },
  lineage: { label: 'Lineage', Content: lazy(() => import('./lineage-tab.tsx')) },
} as const satisfies Record<RunTab, { label: string; Content: React.ComponentType<TabProps> }>;

/** One run: what it does, why it waits or failed, and what can be done about it. */
export function RunPage() {
  const { runId } = useParams({ from: '/signed-in/runs/$runId' });
  const { client } = useServices();
  const run = useQuery(runQuery(client, runId));
  useFollow(`run:${runId}`);
  if (run.data !== undefined) return <Run run={run.data} />;
  if (run.error !== null) return <ProblemNotice error={run.error} onRetry={() => void run.refetch()} />;
  return <Loading />;
}

function Run({ run }: TabProps) {
  const { tab: current = 'steps' } = useSearch({ from: '/signed-in/runs/$runId' });
  useTitle(run.name, runLooks[run.state]);
  const { Content } = tabs[current];
  const has = (...kinds: StepKind[]): boolean => run.stepViews.some(({ kind }) => kinds.includes(kind));
  // A run without training stages has no curves, and one without fleets no shards.
  const shown = runTabs.filter((tab) => (tab !== 'training' || has('train')) && (tab !== 'extraction' || has(...fleetKinds)));
  return (
    <>
      <RunHeader run={run} isBrief={current !== 'steps'} />
      <FailureCards run={run} isBrief={current !== 'steps'} />
      {current === 'steps' && <RunNotes key={run.id} run={run} />}
      {current === 'steps' && <Judgements run={run} />}
      <nav className={classes.tabs} aria-label="Parts of the run">
        {shown.map((tab) => (
          <Link
            key={tab}
            from="/runs/$runId"
            search={({ step }) => ({ step, ...(tab === 'steps' ? {} : { tab }) })}
            className={classes.tab}
            ref={tab === current ? intoView : null}
            // Its own idea of the current page also matches the links whose query is a part of the address's.
            activeOptions={{ exact: true }}
            {...(tab === current ? { 'aria-current': 'page' } : {})}
            resetScroll={false}
          >
            {tabs[tab].label}
          </Link>
        ))}
      </nav>
      <section className={classes.content} aria-label={tabs[current].label}>
        <Suspense fallback={<Loading />}>
          <Content run={run} />
        </Suspense>
      </section>
    </>
  );
}

/** The tabs of a narrow window scroll: the current one is brought into sight, and the page stays where it is. */
const intoView = (tab: HTMLElement | null): void => {
  const tabs = tab?.parentElement;
  if (tab && tabs) tabs.scrollLeft = tab.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2;
};

const Loading = () => (
  <p className={classes.dim} role="status">
    Loading …
  </p>
);

import type { RunView } from '@cairn/contract';
import { useMediaQuery } from '@mantine/hooks';
import { lazy, Suspense } from 'react';
import { StepList } from './step-list.tsx';
import classes from './steps.module.css';

/** The layout of more would stop the page for seconds. */
const maxGraphSteps = 100;

const StepGraph = lazy(() => import('./step-graph.tsx'));

/** The list of steps, which is always there, and beside it, where there is room, their graph unless it is very large. */
export function StepsTab({ run }: { run: RunView }) {
  const isWide = useMediaQuery('(min-width: 70rem)', undefined, { getInitialValueInEffect: false });
  const hasGraph = isWide && run.stepViews.length <= maxGraphSteps;
  return (
    <div className={classes.steps} data-graph={hasGraph}>
      <StepList run={run} />
      {hasGraph && (
        <Suspense fallback={null}>
          <StepGraph run={run} />
        </Suspense>
      )}
    </div>
  );
}

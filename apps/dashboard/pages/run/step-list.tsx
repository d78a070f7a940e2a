import type { RunView, StepView } from '@cairn/contract';
import { Button } from '@mantine/core';
import { Link, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { Icon } from '../../parts/icon.tsx';
import { stepLooks } from '../../parts/looks.ts';
import { formatDuration, formatGpuHours } from '../../parts/numbers.ts';
import { ProgressBar } from '../../parts/progress-bar.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import { useNow } from '../../parts/time.tsx';
import { stepsWithCard } from './failure-card.tsx';
import { StepDetails } from './step-details.tsx';
import { partsOf, progressText, resultText, shareOf } from './step-text.ts';
import classes from './steps.module.css';

/** An ensemble of many models has hundreds. */
const stepsAtOnce = 50;

/** The steps in the order of the graph; the chosen one with its attempts and actions. */
export function StepList({ run }: { run: RunView }) {
  const { step: chosen } = useSearch({ from: '/signed-in/runs/$runId' });
  const [most, setMost] = useState(stepsAtOnce);
  const at = run.stepViews.findIndex(({ name }) => name === chosen);
  // The chosen one is there, wherever the link to it comes from.
  const shown = run.stepViews.slice(0, Math.max(most, at + 1));
  const more = run.stepViews.length - shown.length;
  const onTop = new Set(stepsWithCard(run).map(({ id }) => id));
  return (
    <div>
      <ol className={classes.list} aria-label="Steps">
        {shown.map((step) => (
          <li key={step.id} className={classes.step} data-chosen={step.name === chosen} aria-label={step.name}>
            <div className={classes.row}>
              <StateBadge look={stepLooks[step.state]} />
              <div className={classes.name}>
                <Link
                  from="/runs/$runId"
                  search={({ tab }) => ({ tab, step: step.name === chosen ? undefined : step.name })}
                  aria-expanded={step.name === chosen}
                  resetScroll={false}
                >
                  {step.name}
                </Link>
                {step.kind !== step.name && <span className={classes.kind}>{step.kind}</span>}
              </div>
              <div className={classes.doing}>
                <StepProgress step={step} />
                {step.waiting !== null && <Waiting step={step} run={run} />}
              </div>
              <div className={classes.numbers}>
                {step.attempts > 1 && <span>{step.attempts} attempts</span>}
                <StepTime step={step} />
                {step.gpuSeconds > 0 && <span>{formatGpuHours(step.gpuSeconds)}</span>}
              </div>
            </div>
            {step.state === 'failed' && step.failure !== null && !onTop.has(step.id) && (
              <p className={classes.failure}>{step.failure.message.split('\n')[0]}</p>
            )}
            {step.name === chosen && <StepDetails run={run} step={step} />}
          </li>
        ))}
      </ol>
      {more > 0 && (
        <p>
          <Button variant="default" onClick={() => setMost(shown.length + stepsAtOnce)}>
            Show {Math.min(more, stepsAtOnce)} more of {run.stepViews.length} steps
          </Button>
        </p>
      )}
    </div>
  );
}

function StepProgress({ step }: { step: StepView }) {
  const share = shareOf(step);
  const text = step.state === 'active' ? progressText(step) : resultText(step);
  return (
    <>
      {step.state === 'active' && share !== null && <ProgressBar share={share} colour="blue" label={`${step.name}: progress`} />}
      {step.reusedFrom !== null && (
        <span>
          from{' '}
          <Link to="/runs/$runId" params={{ runId: step.reusedFrom.runId }}>
            {step.reusedFrom.runName}
          </Link>
        </span>
      )}
      {text !== '' && <span>{text}</span>}
    </>
  );
}

function StepTime({ step }: { step: StepView }) {
  const now = useNow();
  if (step.startedAt === null || step.state === 'reused') return null;
  return <span>{formatDuration((step.finishedAt === null ? now : Date.parse(step.finishedAt)) - Date.parse(step.startedAt))}</span>;
}

/** Why the step waits, in the service's words, and who holds what it waits for: a link where the sentence names it, else after it. */
function Waiting({ step, run }: { step: StepView; run: RunView }) {
  const now = useNow();
  if (step.waiting === null) return null;
  const own = step.waitingFor.filter((one) => one.run.id === run.id);
  const parts = partsOf(
    step.waiting.sentence,
    own.map((one) => one.step),
  );
  const others = step.waitingFor.filter((one) => one.run.id !== run.id || !parts.some(({ name }) => name === one.step));
  return (
    <p className={classes.waiting}>
      <Icon name="clock" size={14} />{' '}
      {parts.map(({ at, text, name }) =>
        name === null ? (
          text
        ) : (
          <Link key={at} from="/runs/$runId" search={{ step: name }} resetScroll={false}>
            {text}
          </Link>
        ),
      )}{' '}
      <span className={classes.since}>(for {formatDuration(now - Date.parse(step.waiting.since))})</span>
      {others.length > 0 && ' → '}
      {others.map(({ run: holder, step: held, attemptId, slots }, index) => (
        <span key={`${holder.id} ${held} ${attemptId}`}>
          {index > 0 && ', '}
          <Link to="/runs/$runId" params={{ runId: holder.id }} search={{ step: held }} resetScroll={holder.id !== run.id}>
            {holder.id === run.id ? held : `${holder.name} / ${held}`}
          </Link>
          {slots !== null && ` (${slots === 1 ? '1 slot' : `${slots} slots`})`}
        </span>
      ))}
    </p>
  );
}

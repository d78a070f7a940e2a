import type { FailureCard as Card, RunView, StepView } from '@cairn/contract';
import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay } from '../../app/me.ts';
import { ActionButton } from '../../parts/action-button.tsx';
import { Icon } from '../../parts/icon.tsx';
import { Ago } from '../../parts/time.tsx';
import classes from './failure-card.module.css';
import { RetryDialog, whyNot } from './run-actions.tsx';

const maxCards = 3;

/** The failed steps that have a card on top of the page. */
export const stepsWithCard = (run: RunView): StepView[] => failedSteps(run).slice(0, maxCards);
const failedSteps = (run: RunView): StepView[] => run.stepViews.filter((step) => step.state === 'failed' && step.failureCard !== null);

const fixers = {
  caller: 'the person who submitted the run',
  operator: 'the operator of the service',
  'data owner': 'the owner of the data',
  cairn: 'the developers of Cairn',
} as const satisfies Record<Card['fix'], string>;

/**
 * The failed steps of a run: what happened to which thing, why, what was done about it, and what to do. `isBrief` leaves the room to
 * what is below.
 */
export function FailureCards({ run, isBrief }: { run: RunView; isBrief: boolean }) {
  const shown = stepsWithCard(run);
  const more = failedSteps(run).length - shown.length;
  if (shown.length === 0) return null;
  return (
    <section aria-label="Failures" className={classes.cards}>
      {shown.map(
        (step) =>
          step.failureCard !== null && <FailureCard key={step.id} run={run} step={step} card={step.failureCard} isBrief={isBrief} />,
      )}
      {more > 0 && <p>{more === 1 ? '1 more failed step is' : `${more} more failed steps are`} in the list of steps.</p>}
    </section>
  );
}

function FailureCard({ run, step, card, isBrief }: { run: RunView; step: StepView; card: Card; isBrief: boolean }) {
  const [asks, setAsks] = useState(false);
  const mayRetry = useMay('run.retry');
  const { attempt } = card;
  return (
    <article className={classes.card} data-colour="red" data-brief={isBrief}>
      <h2>
        <Icon name="cross" /> {step.name} failed: {card.title}
      </h2>
      <p className={classes.message}>{card.message.split('\n')[0]}</p>
      {!isBrief && <Particulars step={step} card={card} />}
      <div className={classes.buttons}>
        {attempt !== null && (
          <Button
            renderRoot={(props) => (
              <Link
                {...props}
                to="/runs/$runId"
                params={{ runId: run.id }}
                search={{ tab: 'logs', step: step.name, attempt: attempt.id, q: wordsToFind(card.message) }}
                resetScroll={false}
              />
            )}
          >
            Open the log there
          </Button>
        )}
        {mayRetry && (
          <ActionButton variant="default" why={whyNot(run.actions, 'retry')} onClick={() => setAsks(true)}>
            Retry …
          </ActionButton>
        )}
      </div>
      {asks && <RetryDialog run={run} from={null} onClose={() => setAsks(false)} />}
    </article>
  );
}

function Particulars({ step, card }: { step: StepView; card: Card }) {
  const { attempt } = card;
  const more = card.message.split('\n').slice(1).join('\n');
  return (
    <>
      {more !== '' && <pre className={classes.more}>{more}</pre>}
      <dl className={classes.facts}>
        <dt>What</dt>
        <dd>
          step <strong>{step.name}</strong> ({step.kind})
          {attempt !== null && (
            <>
              , attempt {attempt.ordinal}
              {attempt.place !== null && <> on {attempt.place}</>}
              {attempt.endedAt !== null && (
                <>
                  , <Ago at={attempt.endedAt} />
                </>
              )}
            </>
          )}
        </dd>
        <dt>Cause</dt>
        <dd>
          {card.cause} (<code>{card.code}</code>)
        </dd>
        {card.done.length > 0 && (
          <>
            <dt>What was done</dt>
            <dd>{card.done.join(' ')}</dd>
          </>
        )}
        <dt>What to do</dt>
        <dd>
          {card.remedy} <span className={classes.who}>For {fixers[card.fix]}.</span>
        </dd>
      </dl>
    </>
  );
}

/** The last line of the message that a program wrote: where its log has it is where it failed. */
function wordsToFind(message: string): string {
  const line = message.split('\n').findLast((one) => one.trim() !== '') ?? '';
  // The sentence in front of a program's own words is ours.
  return line.trim().slice(-120);
}

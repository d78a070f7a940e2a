import { type AttemptView, isLiveAttempt, type RunView, type StepView } from '@cairn/contract';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { ActionButton } from '../../parts/action-button.tsx';
import { CopyButton } from '../../parts/copy-call.tsx';
import { attemptLooks } from '../../parts/looks.ts';
import { formatDuration } from '../../parts/numbers.ts';
import { ProblemNotice } from '../../parts/problem.tsx';
import { StateBadge } from '../../parts/state-badge.tsx';
import { Ago, useNow } from '../../parts/time.tsx';
import { RetryDialog, whyNot } from './run-actions.tsx';
import classes from './steps.module.css';

/** A fleet has many: the newest are enough. */
const shownAttempts = 12;

/** The attempts at a step, what it reads and made, and what can be done from it. */
export function StepDetails({ run, step }: { run: RunView; step: StepView }) {
  const [asks, setAsks] = useState(false);
  const mayRetry = useMay('run.retry');
  const maySubmit = useMay('run.submit');
  return (
    <div className={classes.details}>
      <Attempts run={run} step={step} />
      <dl className={classes.facts}>
        {step.reads.length > 0 && (
          <>
            <dt>Reads</dt>
            <dd>{step.reads.map(({ role, step: from, weights }) => `${role} from ${from ?? weights ?? 'outside'}`).join(', ')}</dd>
          </>
        )}
        <dt>Runs on</dt>
        <dd>{step.pool === 'gpu' ? `${step.slots} ${step.slots === 1 ? 'GPU' : 'GPUs'} an attempt` : 'the control plane'}</dd>
        {step.artifact !== null && (
          <>
            <dt>Made</dt>
            <dd>
              {step.artifact.kind} <code>{step.artifact.prefix}</code> <CopyButton text={step.artifact.id} label="Copy the id" />
            </dd>
          </>
        )}
      </dl>
      <div className={classes.buttons}>
        {mayRetry && (
          <ActionButton variant="default" why={whyNot(step.actions, 'retry')} onClick={() => setAsks(true)}>
            Retry from here …
          </ActionButton>
        )}
        <Link from="/runs/$runId" search={{ tab: 'settings', step: step.name }} resetScroll={false}>
          Settings
        </Link>
        {step.kind === 'evaluate' && step.artifact !== null && (
          <Link to="/evaluation" search={{ of: step.id }}>
            Queries
          </Link>
        )}
        {step.shards !== null && (
          <Link from="/runs/$runId" search={{ tab: 'extraction', step: step.name }} resetScroll={false}>
            Shards
          </Link>
        )}
        {step.kind === 'train' && (
          <Link from="/runs/$runId" search={{ tab: 'training', step: step.name }} resetScroll={false}>
            Curves
          </Link>
        )}
        {step.kind === 'train' && step.artifact !== null && maySubmit && (
          <Link to="/submit" search={{ from: run.id, trainOn: step.name }} title="A new run whose stage starts from this checkpoint">
            Train on from here
          </Link>
        )}
      </div>
      {asks && <RetryDialog run={run} from={step.name} onClose={() => setAsks(false)} />}
    </div>
  );
}

function Attempts({ run, step }: { run: RunView; step: StepView }) {
  const { client } = useServices();
  const attempts = useQuery({
    // An attempt's change is an event of the run.
    queryKey: keys.runPart(run.id, 'timeline', 'attempts', step.name),
    queryFn: ({ signal }) => client.listAttempts(run.id, step.name, { signal }),
    enabled: step.attempts > 0,
  });
  if (step.attempts === 0) return <p className={classes.kind}>{step.state === 'reused' ? 'It needed no attempt.' : 'No attempt yet.'}</p>;
  if (attempts.data === undefined)
    return attempts.error === null ? <p className={classes.kind}>Loading …</p> : <ProblemNotice error={attempts.error} />;
  const items = attempts.data.items.slice(-shownAttempts).reverse();
  return (
    <div className={classes.scroll}>
      <table className={classes.attempts}>
        <thead>
          <tr>
            <th>Attempt</th>
            <th>State</th>
            <th>Where</th>
            <th>Began</th>
            <th>Time</th>
            <th>What happened</th>
            <th>Log</th>
          </tr>
        </thead>
        <tbody>
          {items.map((attempt) => (
            <tr key={attempt.id}>
              <td>{attempt.ordinal}</td>
              <td>
                <StateBadge look={attemptLooks[attempt.state]} />
              </td>
              <td>{attempt.place ?? attempt.pool}</td>
              <td>{attempt.startedAt === null ? 'not yet' : <Ago at={attempt.startedAt} />}</td>
              <td>
                <AttemptTime attempt={attempt} />
              </td>
              <td>{happened(attempt)}</td>
              <td>
                <Link
                  from="/runs/$runId"
                  search={{ tab: 'logs', step: step.name, attempt: attempt.id }}
                  aria-label={`Log of attempt ${attempt.ordinal}`}
                  resetScroll={false}
                >
                  Log
                </Link>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {attempts.data.items.length > shownAttempts && (
        <p className={classes.kind}>
          The newest {shownAttempts} of {attempts.data.items.length} attempts.
        </p>
      )}
    </div>
  );
}

function AttemptTime({ attempt: { startedAt, endedAt } }: { attempt: AttemptView }) {
  const now = useNow();
  return startedAt === null ? null : formatDuration((endedAt === null ? now : Date.parse(endedAt)) - Date.parse(startedAt));
}

function happened({ failure, finding, contact, state, resumedFrom, purpose }: AttemptView): string {
  const parts = [];
  if (purpose === 'finalize') parts.push('makes the artifact');
  if (failure !== null) parts.push(`${failure.cause}: ${failure.message.split('\n')[0]}`);
  if (finding !== null) parts.push(finding.message);
  if (contact === 'silent' && isLiveAttempt(state)) parts.push('it does not report');
  if (resumedFrom !== null) parts.push(`resumed from step ${resumedFrom.step}, epoch ${resumedFrom.epoch.toFixed(2)}`);
  return parts.join('; ');
}

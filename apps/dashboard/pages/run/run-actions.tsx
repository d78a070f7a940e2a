import { type ActionView, isDoneStep, isEndedStep, type RunView, type StepView } from '@cairn/contract';
import { Button, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useMay } from '../../app/me.ts';
import { keys } from '../../app/query-keys.ts';
import { useServices } from '../../app/services.ts';
import { ActionButton } from '../../parts/action-button.tsx';
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx';
import { formatGpuHours } from '../../parts/numbers.ts';

/** Cancel, retry and submit again; what the role does not allow is not shown, and a disabled button says why. */
export function RunActions({ run }: { run: RunView }) {
  const mayCancel = useMay('run.cancel');
  const mayRetry = useMay('run.retry');
  const mayRelease = useMay('run.release');
  const maySubmit = useMay('run.submit');
  const [asks, setAsks] = useState<'cancel' | 'retry' | null>(null);
  const isAllDone = run.stepViews.every(({ state }) => isDoneStep(state));
  const whyNoRetry = whyNot(run.actions, 'retry') ?? (isAllDone ? 'Not now: every step is done; retry from one of the steps' : null);
  return (
    <>
      {mayRelease && run.state === 'held' && run.hold !== 'group' && <ReleaseButton run={run} />}
      {mayCancel && (
        <ActionButton variant="default" why={whyNot(run.actions, 'cancel')} onClick={() => setAsks('cancel')}>
          Cancel …
        </ActionButton>
      )}
      {mayRetry && (
        <ActionButton variant="default" why={whyNoRetry} onClick={() => setAsks('retry')}>
          Retry …
        </ActionButton>
      )}
      {maySubmit && (
        <Button variant="default" renderRoot={(props) => <Link {...props} to="/submit" search={{ from: run.id }} />}>
          Submit again …
        </Button>
      )}
      {asks === 'cancel' && <CancelDialog run={run} onClose={() => setAsks(null)} />}
      {asks === 'retry' && <RetryDialog run={run} from={null} onClose={() => setAsks(null)} />}
    </>
  );
}

/** Lets a held run start; the page says why it is held. */
function ReleaseButton({ run }: { run: RunView }) {
  const { client, queries } = useServices();
  const release = useMutation({
    mutationFn: () => client.releaseRun(run.id),
    onSuccess: (view) => queries.setQueryData(keys.run(run.id), view),
  });
  return (
    <Button loading={release.isPending} title={release.error?.message ?? run.now ?? undefined} onClick={() => release.mutate()}>
      {release.error === null ? 'Release' : 'Release again'}
    </Button>
  );
}

/** Why an action is not allowed now; null when it is. */
export const whyNot = (actions: readonly ActionView[], name: ActionView['action']): string | null => {
  const found = actions.find(({ action }) => action === name);
  return found === undefined || found.isAllowed ? null : `Not now: ${found.why ?? 'it is not possible'}`;
};

function CancelDialog({ run, onClose }: { run: RunView; onClose: () => void }) {
  const { client, queries } = useServices();
  const [reason, setReason] = useState('');
  const cancel = useMutation({
    mutationFn: () => client.cancelRun(run.id, { reason }),
    onSuccess: (view) => {
      queries.setQueryData(keys.run(run.id), view);
      onClose();
    },
  });
  const active = run.stepViews.filter(({ state }) => state === 'active');
  const done = run.stepViews.filter(({ state }) => isDoneStep(state)).length;
  return (
    <ConfirmDialog
      title={`Cancel ${run.name}?`}
      action="Cancel the run"
      isDangerous
      isBusy={cancel.isPending}
      error={cancel.error}
      onConfirm={() => cancel.mutate()}
      onClose={onClose}
    >
      {active.length === 0 ? (
        <p>No step is working, so no work is lost.</p>
      ) : (
        <>
          <p>{active.length === 1 ? 'This step stops:' : `These ${active.length} steps stop:`}</p>
          <ul>
            {active.map((step) => (
              <li key={step.id}>
                <strong>{step.name}</strong>, {whatIsLost(step)}
              </li>
            ))}
          </ul>
        </>
      )}
      <p>
        {done === 0
          ? 'The run has no results yet.'
          : `The results of ${done === 1 ? 'the step' : `the ${done} steps`} that ${done === 1 ? 'is' : 'are'} done are kept and can be reused.`}
      </p>
      <TextInput
        label="Reason, for the history"
        value={reason}
        maxLength={500}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
    </ConfirmDialog>
  );
}

/** What a step that is cancelled loses. */
function whatIsLost(step: StepView): string {
  const spent = step.gpuSeconds > 0 ? ` It has used ${formatGpuHours(step.gpuSeconds)}.` : '';
  if (step.kind === 'train') return `which saves a checkpoint within its grace period; a retry of this run continues from it.${spent}`;
  if (step.shards !== null)
    return `which keeps its ${step.shards.committed} committed shards for a retry of this run and loses those in work.${spent}`;
  return `whose work so far is lost.${spent}`;
}

/** Retries what failed or was cancelled; with `from`, that step and all that need it, even where they have results. */
export function RetryDialog({ run, from, onClose }: { run: RunView; from: string | null; onClose: () => void }) {
  const { client, queries } = useServices();
  const retry = useMutation({
    mutationFn: () => client.retryRun(run.id, from === null ? {} : { from }),
    onSuccess: (view) => {
      queries.setQueryData(keys.run(run.id), view);
      onClose();
    },
  });
  const named = from === null ? new Set<string>() : stepsFrom(run.stepViews, from);
  const again = run.stepViews.filter(({ name, state }) => named.has(name) || !isDoneStep(state));
  const redone = again.filter(({ state }) => isEndedStep(state) && isDoneStep(state));
  const spent = redone.reduce((sum, step) => sum + step.gpuSeconds, 0);
  return (
    <ConfirmDialog
      title={from === null ? `Retry ${run.name}?` : `Retry ${run.name} from ${from}?`}
      action={again.length === 1 ? 'Retry 1 step' : `Retry ${again.length} steps`}
      isBusy={retry.isPending}
      error={retry.error}
      onConfirm={() => retry.mutate()}
      onClose={onClose}
    >
      <p>
        {again.length === 1 ? 'This step runs again' : 'These steps run again'}: {again.map(({ name }) => name).join(', ')}.
      </p>
      {redone.length > 0 && (
        <p>
          {redone.map(({ name }) => name).join(', ')} {redone.length === 1 ? 'has a result' : 'have results'}, which{' '}
          {redone.length === 1 ? 'is' : 'are'} computed again{spent > 0 ? ` (it took ${formatGpuHours(spent)})` : ''}.
        </p>
      )}
      <p>A training stage continues from its newest checkpoint where it has one.</p>
    </ConfirmDialog>
  );
}

/** The step and all that need it, directly or not. */
function stepsFrom(steps: readonly StepView[], from: string): Set<string> {
  const names = new Set([from]);
  // In topological order: what a step needs comes before it.
  for (const { name, needs } of steps) if (needs.some((need) => names.has(need))) names.add(name);
  return names;
}

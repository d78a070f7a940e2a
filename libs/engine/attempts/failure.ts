import type { FailureView } from '@cairn/contract';
import { exhaustedCause, retryDelayMs } from '@cairn/domain';
import { changeStep, type RunWork, type WorkStep } from '../run-work.ts';

/** Charges a failure to the retry budget of its cause and sets the time before which the step is not retried. */
export function recordFailure(run: RunWork, step: WorkStep, failure: FailureView): void {
  // The step has already failed: later failures of its other attempts are not the reason.
  if (exhaustedCause(step.failures) !== null) return;
  const nth = (step.failures[failure.cause] ?? 0) + 1;
  changeStep(run, step, {
    failures: { ...step.failures, [failure.cause]: nth },
    failure,
    notBefore: new Date(run.now.getTime() + retryDelayMs(failure.cause, nth)),
  });
}

import {
  type ArtifactState,
  type AttemptState,
  isDoneStep,
  isEndedRun,
  isEndedStep,
  isLiveAttempt,
  type RunState,
  type StepState,
  type StopCause,
} from '@cairn/contract';
import { exhaustedCause, type FailureCounts } from './failure-table.ts';

export type AttemptBrief = { id: string; state: AttemptState };

/** The result that a step makes or waits for, as the memo table knows it. */
export type StepArtifact = {
  state: ArtifactState | 'none';
  /** True when another step is building the same result: wait for it. */
  elsewhere: boolean;
};

export type StepBrief = {
  id: string;
  name: string;
  state: StepState;
  /** Names of the steps that this one needs. */
  needs: readonly string[];
  /** Attempts of the step's generation, oldest first. */
  attempts: readonly AttemptBrief[];
  artifact: StepArtifact;
  /** Only for a fleet: it is complete when every shard is committed. */
  shards: { total: number; committed: number } | null;
  /** True once finalizing was requested. */
  finalizing: boolean;
  /** Failed attempts of the generation, by cause. */
  failures: FailureCounts;
};

export type RunBrief = { state: RunState; steps: readonly StepBrief[] };

/** A change that the engine makes to a run. Each is applied once, guarded by the state it starts from. */
export type Transition =
  | { type: 'run'; from: RunState; to: RunState; cause: string | null }
  | { type: 'step'; stepId: string; from: StepState; to: StepState; cause: string | null }
  /** Look up the result by its memo key: reuse it, wait for the step that is building it, or reserve and build it. */
  | { type: 'claim'; stepId: string }
  /** The step is complete: make its artifact. For a fleet, a separate attempt makes it from the shards. */
  | { type: 'finalize'; stepId: string }
  | { type: 'stop'; attemptId: string; cause: StopCause; reason: string };

/**
 * The one function that decides how a run continues: pure, total over the states, and idempotent: it returns [] when nothing is left to do.
 * The engine applies the transitions and calls it again until it returns [].
 */
export function advance(run: RunBrief): Transition[] {
  if (isEndedRun(run.state) || run.state === 'held') return [];
  if (run.state === 'cancelling') return advanceCancelling(run);
  const byName = new Map(run.steps.map((step) => [step.name, step]));
  const failing = run.steps.some((step) => step.state === 'failed');
  const transitions = run.steps.flatMap((step) => advanceStep(step, byName, failing));
  if (transitions.length > 0) {
    return run.state === 'queued' && transitions.some((t) => t.type === 'step' && t.to === 'active')
      ? [started(run), ...transitions]
      : transitions;
  }
  if (run.steps.every((step) => isEndedStep(step.state))) {
    const failed = run.steps.find((step) => step.state === 'failed');
    return [{ type: 'run', from: run.state, to: failed ? 'failed' : 'succeeded', cause: failed ? `${failed.name} failed` : null }];
  }
  const busy = run.steps.some((step) => step.state === 'active' || isDoneStep(step.state));
  return run.state === 'queued' && busy ? [started(run)] : [];
}

const started = (run: RunBrief): Transition => ({ type: 'run', from: run.state, to: 'running', cause: null });

function advanceStep(step: StepBrief, byName: ReadonlyMap<string, StepBrief>, failing: boolean): Transition[] {
  switch (step.state) {
    case 'blocked':
      // After a failure nothing new starts, but running attempts may end: a retry can reuse their results.
      if (failing) return [{ type: 'step', stepId: step.id, from: 'blocked', to: 'cancelled', cause: 'another step failed' }];
      return step.needs.every((name) => isDoneStep(byName.get(name)?.state ?? 'blocked'))
        ? [{ type: 'step', stepId: step.id, from: 'blocked', to: 'ready', cause: null }]
        : [];
    case 'ready':
      if (failing) return [{ type: 'step', stepId: step.id, from: 'ready', to: 'cancelled', cause: 'another step failed' }];
      if (step.artifact.state === 'ready') return [{ type: 'step', stepId: step.id, from: 'ready', to: 'reused', cause: null }];
      if (step.artifact.state === 'none' && !step.artifact.elsewhere) return [{ type: 'claim', stepId: step.id }];
      return step.attempts.some((attempt) => isLiveAttempt(attempt.state))
        ? [{ type: 'step', stepId: step.id, from: 'ready', to: 'active', cause: null }]
        : [];
    case 'active':
      return advanceActive(step, failing);
    case 'succeeded':
    case 'reused':
    case 'failed':
    case 'cancelled':
      return [];
  }
}

function advanceActive(step: StepBrief, failing: boolean): Transition[] {
  if (step.artifact.state === 'ready') return [{ type: 'step', stepId: step.id, from: 'active', to: 'succeeded', cause: null }];
  const live = step.attempts.filter((attempt) => isLiveAttempt(attempt.state));
  const exhausted = exhaustedCause(step.failures);
  if (exhausted === null && isComplete(step)) return step.finalizing ? [] : [{ type: 'finalize', stepId: step.id }];
  if (live.length > 0) {
    if (exhausted === null) return [];
    return live
      .filter((attempt) => attempt.state !== 'stopping')
      .map((attempt) => ({ type: 'stop', attemptId: attempt.id, cause: 'step_failed', reason: `the step failed: ${exhausted}` }));
  }
  if (exhausted !== null) return [{ type: 'step', stepId: step.id, from: 'active', to: 'failed', cause: exhausted }];
  if (failing) return [{ type: 'step', stepId: step.id, from: 'active', to: 'cancelled', cause: 'another step failed' }];
  return [{ type: 'step', stepId: step.id, from: 'active', to: 'ready', cause: null }];
}

/** True when everything that the result needs exists and only finalizing is left. */
export function isComplete(step: Pick<StepBrief, 'shards' | 'attempts'>): boolean {
  if (step.shards) return step.shards.committed >= step.shards.total;
  return step.attempts.some((attempt) => attempt.state === 'succeeded');
}

function advanceCancelling(run: RunBrief): Transition[] {
  const transitions: Transition[] = [];
  for (const step of run.steps) {
    if (isEndedStep(step.state)) continue;
    const live = step.attempts.filter((attempt) => isLiveAttempt(attempt.state));
    for (const attempt of live) {
      if (attempt.state !== 'stopping')
        transitions.push({ type: 'stop', attemptId: attempt.id, cause: 'cancelled', reason: 'cancelled by the run' });
    }
    if (live.length === 0)
      transitions.push({ type: 'step', stepId: step.id, from: step.state, to: 'cancelled', cause: 'the run was cancelled' });
  }
  if (transitions.length > 0) return transitions;
  return run.steps.every((step) => isEndedStep(step.state)) ? [{ type: 'run', from: 'cancelling', to: 'cancelled', cause: null }] : [];
}

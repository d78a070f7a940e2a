import { isDoneStep, isEndedRun, isEndedStep, isLiveAttempt, type RunState, type StepState, type StopCause } from '@cairn/contract';
import { advance, exhaustedCause, type RunBrief, type StepBrief, type Transition } from '@cairn/domain';
import { failForLists } from './fail-for-lists.ts';
import { beginFinalizing } from './finalize-fleet.ts';
import { claimResult, releaseResult } from './memo.ts';
import {
  announceRun,
  changeAttempt,
  changeRun,
  changeStep,
  emit,
  enqueue,
  findStep,
  makesItsResult,
  type RunWork,
  type WorkStep,
} from './run-work.ts';

/** More rounds than this indicate a bug in `advance`. */
const maxRounds = 100;

/** Applies the transitions of `advance` until there are none. */
export async function settle(run: RunWork): Promise<void> {
  for (let round = 0; round < maxRounds; round += 1) {
    const transitions = advance(briefOf(run));
    if (transitions.length === 0) return;
    for (const transition of transitions) await apply(run, transition);
  }
  throw new Error(`run ${run.id} does not settle`);
}

function briefOf(run: RunWork): RunBrief {
  return { state: run.state, steps: run.steps.map((step) => briefOfStep(run, step)) };
}

function briefOfStep(run: RunWork, step: WorkStep): StepBrief {
  const artifact = step.artifact;
  const elsewhere = artifact?.state === 'building' && !makesItsResult(run, step);
  return {
    id: step.id,
    name: step.name,
    state: step.state,
    needs: step.needs.map((need) => need.step),
    attempts: step.attempts,
    artifact: { state: artifact?.state ?? 'none', elsewhere },
    shards: step.shardsTotal === null ? null : { total: step.shardsTotal, committed: step.shardsCommitted },
    finalizing: step.finalizing,
    failures: step.failures,
  };
}

async function apply(run: RunWork, transition: Transition): Promise<void> {
  switch (transition.type) {
    case 'run':
      return moveRun(run, transition.to, transition.cause);
    case 'step':
      return applyToStep(run, findStep(run, transition.stepId), transition);
    case 'claim':
      return claimResult(run, findStep(run, transition.stepId));
    case 'finalize':
      return beginFinalizing(run, findStep(run, transition.stepId));
    case 'stop':
      return requestStop(run, transition.attemptId, transition);
  }
}

async function applyToStep(run: RunWork, step: WorkStep, { from, to, cause }: Extract<Transition, { type: 'step' }>): Promise<void> {
  // An earlier transition of the round failed it.
  if (step.state !== from) return;
  if (from === 'blocked' && to === 'ready') {
    const failing = await failForLists(run, step);
    for (const one of failing) await moveStep(run, one, 'failed', exhaustedCause(one.failures));
    if (failing.length > 0) return;
  }
  await moveStep(run, step, to, cause);
}

export function moveRun(run: RunWork, to: RunState, cause: string | null): void {
  const { now } = run;
  changeRun(run, {
    state: to,
    ...(cause === null ? {} : { cause }),
    ...(run.state === 'held' ? { hold: null } : {}),
    ...(to === 'running' && run.state === 'queued' ? { startedAt: now } : {}),
    ...(isEndedRun(to) ? { finishedAt: now } : {}),
  });
  run.state = to;
  if (cause !== null) run.cause = cause;
  emit(run, 'run', `${run.name} ${runWords[to]}${cause ? `: ${cause}` : ''}`, { state: to, cause });
  if (to === 'succeeded' || to === 'failed' || to === 'cancelled')
    // A cancelled run has its cause since it began to be cancelled.
    announceRun(run, 'run.ended', { state: to, cause: to === 'cancelled' ? run.cause : cause, finishedAt: now.toISOString() });
  if (to === 'succeeded') beginJudging(run);
}

/** A controller judges the run by its gate. Raises the generation: a judgement of what a retry replaced is dropped. */
function beginJudging(run: RunWork): void {
  if (run.gate === null) return;
  run.gate = { state: 'judging', generation: run.gate.generation + 1 };
  changeRun(run, { gateState: 'judging', gateGeneration: run.gate.generation, gateProblem: null, gateNotBefore: null });
  enqueue(run, 'judge', run.id, run.gate.generation);
}

const runWords: Record<RunState, string> = {
  held: 'is held',
  queued: 'is queued',
  running: 'is running',
  cancelling: 'is being cancelled',
  succeeded: 'succeeded',
  failed: 'failed',
  cancelled: 'was cancelled',
};

const stepWords: Record<StepState, string> = {
  blocked: 'waits for earlier steps',
  ready: 'is ready',
  active: 'is active',
  succeeded: 'succeeded',
  reused: 'is reused',
  failed: 'failed',
  cancelled: 'was cancelled',
};

export async function moveStep(run: RunWork, step: WorkStep, to: StepState, cause: string | null): Promise<void> {
  const { now } = run;
  changeStep(run, step, {
    state: to,
    ...(to === 'ready' ? { readyAt: now } : {}),
    ...(to === 'active' && step.startedAt === null ? { startedAt: now } : {}),
    ...(isEndedStep(to) ? { finishedAt: now, notBefore: null } : {}),
    ...(to === 'reused' ? { reusedFromRunId: step.artifact?.runId ?? null } : {}),
    ...(to === 'succeeded' ? { failure: null } : {}),
  });
  if (isEndedStep(to) && !isDoneStep(to)) await releaseResult(run, step);
  const took =
    to === 'succeeded' && step.startedAt ? ` in ${Math.max(0.1, (now.getTime() - step.startedAt.getTime()) / 1000).toFixed(1)} s` : '';
  emit(run, 'step', `${step.name} ${stepWords[to]}${took}${cause ? ` (${cause})` : ''}`, { step: step.name, state: to, cause });
}

/** Asks a live attempt to stop; one that is still queued ends at once. */
export function requestStop(run: RunWork, attemptId: string, { cause, reason }: { cause: StopCause; reason: string }): void {
  const step = run.steps.find(({ attempts }) => attempts.some(({ id }) => id === attemptId));
  const attempt = step?.attempts.find(({ id }) => id === attemptId);
  if (!step || !attempt || !isLiveAttempt(attempt.state) || attempt.state === 'stopping') return;
  const { now } = run;
  if (attempt.state === 'created') {
    changeAttempt(run, attempt, { state: 'cancelled', stopCause: cause, stopReason: reason, endedAt: now });
    attempt.state = 'cancelled';
  } else {
    changeAttempt(run, attempt, { state: 'stopping', stopCause: cause, stopReason: reason, stopRequestedAt: now });
    attempt.state = 'stopping';
  }
  emit(run, 'attempt', `${step.name}: attempt ${attempt.ordinal} is asked to stop: ${reason}`, {
    step: step.name,
    attemptId,
    state: attempt.state,
    stopCause: cause,
  });
}

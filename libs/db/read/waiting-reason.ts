import {
  type Blocker,
  type FindingView,
  isDoneStep,
  isEndedStep,
  maxBlockers,
  type RunState,
  type StepState,
  type WaitingReason,
} from '@cairn/contract';
import type { AdmissionView } from './waiting.ts';

/** The facts about a step that decide why it waits. Times are those of the rows. */
export type StepSituation = {
  stepId: string;
  state: StepState;
  runState: RunState;
  createdAt: Date;
  readyAt: Date | null;
  /** The steps that it needs. */
  needs: readonly { name: string; state: StepState }[];
  /** The other step that is building the same result, if any. */
  builder: { runId: string; runName: string; stepName: string } | null;
  attempts: AttemptCounts;
  /** Everything that the result needs exists; only finalizing is left. */
  isComplete: boolean;
};

/** Attempts of the step's generation. */
export type AttemptCounts = {
  /** Created or launching. */
  starting: number;
  startingSince: Date | null;
  startingPool: string | null;
  /** Why the oldest of them has not started yet, if the executor knows. */
  finding: FindingView | null;
  /** Running or stopping. */
  working: number;
  succeeded: number;
  lastEndedAt: Date | null;
};

/** True when {@link AdmissionView} is needed to say why the step waits; a run without such steps does not load it. */
export function needsAdmission(situation: StepSituation): boolean {
  const isIdle = situation.attempts.starting === 0 && situation.attempts.working === 0;
  if (situation.runState !== 'queued' && situation.runState !== 'running') return false;
  if (situation.state === 'ready') return isIdle && situation.builder === null;
  return situation.state === 'active' && isIdle && !situation.isComplete;
}

/** Why a step waits, in one sentence; null when it has ended or is running. Pure. */
export function waitingReasonOf(situation: StepSituation, admission: AdmissionView | null): WaitingReason | null {
  const { state, attempts } = situation;
  if (isEndedStep(state) || situation.runState === 'cancelling') return null;
  if (state === 'blocked') return reason('dependencies', `waiting for ${unmetNeeds(situation)}`, situation.createdAt);
  const readyAt = situation.readyAt ?? situation.createdAt;
  if (situation.isComplete) {
    return reason('finalizing', 'its work is done; the result is being verified and stored', attempts.lastEndedAt ?? readyAt);
  }
  if (attempts.working > 0) return null;
  if (attempts.finding !== null) {
    return lasting('pending', attempts.finding.message, new Date(attempts.finding.since));
  }
  if (attempts.starting > 0) {
    const count = attempts.starting === 1 ? 'an attempt is' : `${attempts.starting} attempts are`;
    return reason('launching', `${count} being started on pool ${attempts.startingPool ?? 'unknown'}`, attempts.startingSince ?? readyAt);
  }
  if (situation.builder !== null) {
    const { stepName, runName, runId } = situation.builder;
    return reason('same-result-building', `${stepName} of run ${runName} (${runId}) is building the same result`, readyAt);
  }
  if (situation.runState === 'held') return reason('dependencies', 'the run is held', readyAt);
  if (admission !== null && !admission.leader.isAlive) {
    const { holder, expiresAt } = admission.leader;
    return holder === ''
      ? reason('no-leader', 'no controller has reported yet, so nothing is started', readyAt)
      : reason('no-leader', `no controller is running, so nothing is started; the last one was ${holder}`, later(expiresAt, readyAt));
  }
  const admitted = admission?.reasons.get(situation.stepId);
  if (admitted?.code === 'backoff' || admitted?.code === 'launching') return reason(admitted.code, admitted.sentence, readyAt);
  if (admitted !== undefined) return lasting(admitted.code, admitted.sentence, readyAt);
  return reason('launching', 'it fits now; the controller starts it next', readyAt);
}

/** The steps and attempts that the reason is about, as data: links to what holds the places. Pure. */
export function blockersOf(
  situation: StepSituation,
  run: Blocker['run'],
  waiting: WaitingReason | null,
  admission: AdmissionView | null,
): Blocker[] {
  if (waiting === null) return [];
  if (waiting.code === 'dependencies') {
    const unmet = situation.needs.filter((need) => !isDoneStep(need.state));
    return unmet.slice(0, maxBlockers).map(({ name }) => ({ run, step: name, attemptId: null, slots: null }));
  }
  if (waiting.code === 'same-result-building' && situation.builder !== null) {
    const { runId, runName, stepName } = situation.builder;
    return [{ run: { id: runId, name: runName }, step: stepName, attemptId: null, slots: null }];
  }
  const admitted = admission?.reasons.get(situation.stepId);
  if (admission === null || admitted?.code !== waiting.code) return [];
  const ahead = admission.waiting.waiting.filter((step) => step.stepId === admitted.stepId);
  const holders = admission.waiting.running.filter((attempt) => admitted.attemptIds?.includes(attempt.attemptId));
  return [
    ...ahead.map((step) => ({ run: { id: step.runId, name: step.runName }, step: step.name, attemptId: null, slots: null })),
    ...holders.map(({ runId, runName, stepName, attemptId, slots }) => ({
      ...{ run: { id: runId, name: runName }, step: stepName },
      ...{ attemptId, slots },
    })),
  ].slice(0, maxBlockers);
}

const reason = (code: WaitingReason['code'], sentence: string, since: Date): WaitingReason => ({
  code,
  sentence,
  since: since.toISOString(),
});

/** A reason that may last: the sentence includes its start time, so that it is complete wherever it is shown. */
const lasting = (code: WaitingReason['code'], sentence: string, since: Date): WaitingReason =>
  reason(code, `${sentence} (since ${since.toISOString().slice(0, 16).replace('T', ' ')} UTC)`, since);

const later = (a: Date, b: Date): Date => (a > b ? a : b);

/** A step's state in a sentence about the steps that others wait for. */
const stateWords = {
  blocked: 'waiting',
  ready: 'waiting',
  active: 'running',
  succeeded: 'succeeded',
  reused: 'reused',
  failed: 'failed',
  cancelled: 'cancelled',
} as const satisfies Record<StepState, string>;

function unmetNeeds(situation: StepSituation): string {
  const unmet = situation.needs.filter((need) => !isDoneStep(need.state));
  if (unmet.length === 0) return 'the controller';
  const words = unmet.map((need) => `${need.name} (${stateWords[need.state]})`);
  return words.length === 1 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

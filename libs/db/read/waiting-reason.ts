import { type FindingView, isDoneStep, isEndedStep, type RunState, type StepState, type WaitingReason } from '@cairn/contract';
import type { AdmissionView } from './waiting.ts';

/** What is known of a step when its screen asks why it waits. Times are those of the rows. */
export type StepSituation = {
  stepId: string;
  state: StepState;
  runState: RunState;
  createdAt: Date;
  readyAt: Date | null;
  /** The steps it needs. */
  needs: readonly { name: string; state: StepState }[];
  /** Who builds the result that this step would build, when that is another step. */
  builder: { runId: string; runName: string; stepName: string } | null;
  attempts: AttemptCounts;
  /** Everything the result needs is there; only its finalizing is left. */
  isComplete: boolean;
};

/** Attempts of the step's generation. */
export type AttemptCounts = {
  /** Created or launching. */
  starting: number;
  startingSince: Date | null;
  startingPool: string | null;
  /** Why the oldest of them has not started yet, where the executor can tell. */
  finding: FindingView | null;
  /** Running or stopping. */
  working: number;
  succeeded: number;
  lastEndedAt: Date | null;
};

/** True when only {@link AdmissionView} tells why the step waits, so that a run without such steps needs no look at it. */
export function needsAdmission(situation: StepSituation): boolean {
  const isIdle = situation.attempts.starting === 0 && situation.attempts.working === 0;
  if (situation.runState !== 'queued' && situation.runState !== 'running') return false;
  if (situation.state === 'ready') return isIdle && situation.builder === null;
  return situation.state === 'active' && isIdle && !situation.isComplete;
}

/** Why a step waits and for whom, in one sentence; null when it is over or at work. Pure. */
export function waitingReasonOf(situation: StepSituation, admission: AdmissionView | null): WaitingReason | null {
  const { state, attempts } = situation;
  if (isEndedStep(state) || situation.runState === 'cancelling') return null;
  if (state === 'blocked') return reason('dependencies', `it waits for ${unmetNeeds(situation)}`, situation.createdAt);
  const readyAt = situation.readyAt ?? situation.createdAt;
  if (situation.isComplete) {
    return reason('finalizing', 'its work is done, and its result is being checked and put in its place', attempts.lastEndedAt ?? readyAt);
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
  if (situation.runState === 'held') return reason('dependencies', 'its run is held', readyAt);
  if (admission !== null && !admission.leader.isAlive) {
    const { holder, expiresAt } = admission.leader;
    return holder === ''
      ? reason('no-leader', 'no controller has reported yet, so nothing is started', readyAt)
      : reason('no-leader', `no controller is running, so nothing is started; the last one was ${holder}`, later(expiresAt, readyAt));
  }
  const admitted = admission?.reasons.get(situation.stepId);
  if (admitted?.code === 'backoff' || admitted?.code === 'launching') return reason(admitted.code, admitted.sentence, readyAt);
  if (admitted !== undefined) return lasting(admitted.code, admitted.sentence, readyAt);
  return reason('launching', 'there is room for it, and the controller starts it next', readyAt);
}

const reason = (code: WaitingReason['code'], sentence: string, since: Date): WaitingReason => ({
  code,
  sentence,
  since: since.toISOString(),
});

/** What may last: the sentence tells since when, so that it says everything wherever it is shown. */
const lasting = (code: WaitingReason['code'], sentence: string, since: Date): WaitingReason =>
  reason(code, `${sentence} (since ${since.toISOString().slice(0, 16).replace('T', ' ')} UTC)`, since);

const later = (a: Date, b: Date): Date => (a > b ? a : b);

/** How a state reads in a sentence about a step that others wait for. */
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
  if (unmet.length === 0) return 'the controller to look at it';
  const words = unmet.map((need) => `${need.name} (${stateWords[need.state]})`);
  return words.length === 1 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

import type { AttemptState, RunState, ShardState, StepState } from '@cairn/contract';

/** Which state may follow which. Total over each union; libs/db guards every change in SQL with the state it expects. */
export const runTransitions = {
  held: ['queued', 'cancelled'],
  queued: ['running', 'cancelling', 'succeeded', 'failed', 'cancelled'],
  running: ['cancelling', 'succeeded', 'failed', 'cancelled'],
  cancelling: ['cancelled'],
  // A retry opens a run that ended again.
  succeeded: ['running'],
  failed: ['running'],
  cancelled: ['running'],
} as const satisfies Record<RunState, readonly RunState[]>;

export const stepTransitions = {
  blocked: ['ready', 'cancelled'],
  ready: ['active', 'reused', 'failed', 'cancelled'],
  // Back to ready when an attempt ended and the budget of its cause allows another.
  active: ['ready', 'succeeded', 'failed', 'cancelled'],
  // A retry from a step blocks it and what depends on it again.
  succeeded: ['blocked'],
  reused: ['blocked'],
  failed: ['blocked'],
  cancelled: ['blocked'],
} as const satisfies Record<StepState, readonly StepState[]>;

export const attemptTransitions = {
  created: ['launching', 'running', 'stopping', 'failed', 'cancelled', 'lost'],
  launching: ['running', 'stopping', 'succeeded', 'failed', 'preempted', 'cancelled', 'lost'],
  running: ['stopping', 'succeeded', 'failed', 'preempted', 'cancelled', 'lost'],
  stopping: ['succeeded', 'failed', 'preempted', 'cancelled', 'lost'],
  succeeded: [],
  failed: [],
  preempted: [],
  cancelled: [],
  lost: [],
} as const satisfies Record<AttemptState, readonly AttemptState[]>;

export const shardTransitions = {
  pending: ['leased', 'rejected', 'split'],
  leased: ['pending', 'committed', 'rejected', 'split'],
  committed: [],
  split: [],
  rejected: [],
} as const satisfies Record<ShardState, readonly ShardState[]>;

export const liveAttemptStates = ['created', 'launching', 'running', 'stopping'] as const satisfies readonly AttemptState[];
export const doneStepStates = ['succeeded', 'reused'] as const satisfies readonly StepState[];
export const endedStepStates = ['succeeded', 'reused', 'failed', 'cancelled'] as const satisfies readonly StepState[];
export const endedRunStates = ['succeeded', 'failed', 'cancelled'] as const satisfies readonly RunState[];

const includes = <T extends string>(states: readonly T[], state: string): state is T => (states as readonly string[]).includes(state);

export const isLiveAttempt = (state: AttemptState): boolean => includes(liveAttemptStates, state);
export const isDoneStep = (state: StepState): boolean => includes(doneStepStates, state);
export const isEndedStep = (state: StepState): boolean => includes(endedStepStates, state);
export const isEndedRun = (state: RunState): boolean => includes(endedRunStates, state);

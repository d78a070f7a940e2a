import type { AttemptState, AttentionKind, RunState, RunVerdict, StepState } from '@cairn/contract';
import type { LiveStatus } from '../app/live.ts';
import type { IconName } from './icon.tsx';

/** How a state is shown: never by a colour alone. */
export type Look = { label: string; icon: IconName; colour: 'gray' | 'blue' | 'green' | 'red' | 'orange' | 'violet' };

export const runLooks = {
  held: { label: 'Held', icon: 'lock', colour: 'orange' },
  queued: { label: 'Queued', icon: 'clock', colour: 'gray' },
  running: { label: 'Running', icon: 'play', colour: 'blue' },
  cancelling: { label: 'Cancelling', icon: 'stop', colour: 'orange' },
  succeeded: { label: 'Succeeded', icon: 'check', colour: 'green' },
  failed: { label: 'Failed', icon: 'cross', colour: 'red' },
  cancelled: { label: 'Cancelled', icon: 'ban', colour: 'gray' },
} as const satisfies Record<RunState, Look>;

export const stepLooks = {
  blocked: { label: 'Blocked', icon: 'lock', colour: 'gray' },
  ready: { label: 'Ready', icon: 'clock', colour: 'gray' },
  active: { label: 'Active', icon: 'play', colour: 'blue' },
  succeeded: { label: 'Succeeded', icon: 'check', colour: 'green' },
  reused: { label: 'Reused', icon: 'recycle', colour: 'violet' },
  failed: { label: 'Failed', icon: 'cross', colour: 'red' },
  cancelled: { label: 'Cancelled', icon: 'ban', colour: 'gray' },
} as const satisfies Record<StepState, Look>;

export const attemptLooks = {
  created: { label: 'Created', icon: 'clock', colour: 'gray' },
  launching: { label: 'Launching', icon: 'rocket', colour: 'blue' },
  running: { label: 'Running', icon: 'play', colour: 'blue' },
  stopping: { label: 'Stopping', icon: 'stop', colour: 'orange' },
  succeeded: { label: 'Succeeded', icon: 'check', colour: 'green' },
  failed: { label: 'Failed', icon: 'cross', colour: 'red' },
  preempted: { label: 'Preempted', icon: 'pause', colour: 'orange' },
  cancelled: { label: 'Cancelled', icon: 'ban', colour: 'gray' },
  lost: { label: 'Lost', icon: 'question', colour: 'red' },
} as const satisfies Record<AttemptState, Look>;

export const attentionLooks = {
  'failed-run': { label: 'Failed run', icon: 'cross', colour: 'red' },
  'waiting-step': { label: 'Waiting step', icon: 'clock', colour: 'orange' },
  'sick-attempt': { label: 'Attempt in trouble', icon: 'warning', colour: 'orange' },
  'sick-node': { label: 'Failing node', icon: 'warning', colour: 'red' },
  'held-run': { label: 'Held run', icon: 'lock', colour: 'orange' },
  'held-delivery': { label: 'Held delivery', icon: 'lock', colour: 'orange' },
  budget: { label: 'Budget', icon: 'warning', colour: 'orange' },
  'no-leader': { label: 'No controller', icon: 'stop', colour: 'red' },
} as const satisfies Record<AttentionKind, Look>;

export const liveLooks = {
  connecting: { label: 'Connecting', icon: 'clock', colour: 'gray' },
  open: { label: 'Live', icon: 'check', colour: 'green' },
  lost: { label: 'Connection lost', icon: 'warning', colour: 'orange' },
} as const satisfies Record<LiveStatus['state'], Look>;

/** The verdicts of quality gates. */
export const verdictLooks = {
  none: { label: 'Not judged', icon: 'question', colour: 'gray' },
  passed: { label: 'Passed', icon: 'check', colour: 'green' },
  failed: { label: 'Failed', icon: 'cross', colour: 'red' },
  inconclusive: { label: 'Inconclusive', icon: 'question', colour: 'orange' },
} as const satisfies Record<RunVerdict, Look>;

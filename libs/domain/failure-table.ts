import {
  type AttemptCause,
  attemptCause,
  type ErrorCode,
  type ErrorRow,
  errorTable,
  type FailureCard,
  type FailureSignal,
  type FailureView,
  type Finding,
} from '@cairn/contract';

/**
 * - `wait`: the attempt stays where it is and its step shows the sentence.
 * - `fail`: the step fails; a retry would fail the same way.
 * - `retry`: a new attempt resumes from the last checkpoint, within the retry budget of the cause.
 * - `retry_elsewhere`: the same, and the new attempt avoids the node.
 */
type FailureAction = 'wait' | 'fail' | 'retry' | 'retry_elsewhere';

/** The meaning of a signal. The retry budget is that of its cause: `retryBudgets`. */
export type FailureRow = {
  cause: AttemptCause;
  code: ErrorCode;
  action: FailureAction;
  /** How long the signal may last before the attempt is ended. */
  graceMs: number;
  /** Counts only while the attempt does not report either: its node may be cut off from the cluster but not from us. */
  onlyWhenSilent?: true;
  /** What happened, for people; the details follow it. */
  sentence: string;
};

const second = 1_000;
const minute = 60 * second;
const forever = Number.POSITIVE_INFINITY;

/** Everything that can happen to an attempt outside its own program. */
export const failureTable = {
  queued: waits('quota_exceeded', 'it is queued in the cluster'),
  quota_exceeded: waits('quota_exceeded', 'a quota of the namespace is used up'),
  no_pod: waits('unschedulable', 'its pod has not been created yet'),
  unschedulable: waits('unschedulable', 'no node can hold its pod now'),
  image_registry_busy: ends(
    'infrastructure',
    'image_not_pulled',
    'retry',
    'the image registry refuses requests from the node',
    15 * minute,
  ),
  image_pull: ends('user', 'image_not_pulled', 'fail', 'its image cannot be pulled', 3 * minute),
  image_name_invalid: ends('user', 'image_not_pulled', 'fail', 'its image has an invalid name'),
  // The Secret may be created a moment after the pod.
  container_configuration: ends('user', 'container_not_created', 'fail', 'its container has an invalid configuration', minute),
  container_creation: ends('user', 'container_not_created', 'fail', 'its container cannot be created', 3 * minute),
  // A large image takes minutes to pull, and a volume that cannot be mounted shows no other signal.
  container_creating: ends('infrastructure', 'pod_not_started', 'retry', 'its container is being created', 20 * minute),

  node_silent: {
    ...ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node does not answer', 2 * minute),
    onlyWhenSilent: true,
  },
  // An unhealthy GPU ends nothing by itself; the program that uses it fails or hangs, which ends the attempt.
  gpu_unhealthy: { cause: 'gpu', code: 'gpu_failed', action: 'wait', graceMs: forever, sentence: 'a GPU of its node is unhealthy' },

  container_start: ends('user', 'container_not_created', 'fail', 'its program could not be started'),
  admission_refused: ends('infrastructure', 'pod_lost', 'retry_elsewhere', 'its node refused the pod'),
  ended_without_result: ends('infrastructure', 'program_failed', 'retry', 'its agent ended without reporting a result'),
  agent_failed: ends('user', 'program_failed', 'fail', 'its agent failed'),
  agent_configuration: ends('user', 'invalid_configuration', 'fail', 'its agent rejected its configuration'),
  agent_superseded: ends('infrastructure', 'superseded', 'retry', 'its agent was superseded by another attempt'),
  agent_preempted: ends('preemption', 'preempted', 'retry', 'its agent was preempted and saved its work'),
  out_of_memory: ends('user', 'out_of_memory', 'fail', 'it exceeded the memory limit of its pod'),
  shared_memory_full: ends('user', 'shared_memory_full', 'fail', 'its shared memory was full'),
  killed: ends('infrastructure', 'pod_lost', 'retry', 'it was killed from outside'),
  node_pressure: ends('infrastructure', 'pod_lost', 'retry_elsewhere', 'its node ran out of memory or disk and evicted the pod'),
  node_shutdown: ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node shut down'),
  preempted: ends('preemption', 'preempted', 'retry', 'a pod of higher priority preempted it'),
  drained: ends('preemption', 'preempted', 'retry', 'its pod was evicted, as by a drain of its node'),
  node_lost: ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node was lost'),
  node_gone: ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node is gone'),
  failed_beside_sick_gpu: ends('gpu', 'gpu_failed', 'retry_elsewhere', 'it failed on a node with an unhealthy GPU'),
  deadline_exceeded: ends('deadline', 'deadline_exceeded', 'fail', 'it exceeded the deadline of its pool'),
  pod_gone: ends('infrastructure', 'pod_lost', 'retry', 'its pod was removed'),
} as const satisfies Record<FailureSignal, FailureRow>;

export type Assessment = {
  /** True when the attempt is over: it ended, or the signal lasted longer than allowed. */
  over: boolean;
  action: FailureAction;
  /** What happens next, and when, if the signal persists: for people, as the end of a sentence. Null when it is over or only waits. */
  next: string | null;
  /** The failure that is charged when it is over, and shown before. */
  failure: FailureView;
};

/** Decides whether a finding ends the attempt. Pure: `now` is in milliseconds since the epoch. */
export function assess({ signal, since, message: details }: Finding, { now, silent }: { now: number; silent: boolean }): Assessment {
  const row: FailureRow = failureTable[signal];
  const persists = now - since >= row.graceMs;
  const message = details === '' ? row.sentence : `${row.sentence}: ${details}`;
  const over = persists && (silent || row.onlyWhenSilent !== true);
  return {
    over,
    action: row.action,
    next: over ? null : nextOf(row, since),
    failure: { cause: row.cause, code: row.code, message },
  };
}

function nextOf({ action, graceMs, onlyWhenSilent }: FailureRow, since: number): string | null {
  if (action === 'wait') return null;
  const at = `${new Date(since + graceMs).toISOString().slice(11, 16)} UTC`;
  const where = action === 'retry_elsewhere' ? ' on another node' : '';
  const what = action === 'fail' ? 'its step fails' : `a new attempt replaces it${where}`;
  return `${what} at ${at}${onlyWhenSilent ? ', unless it reports' : ''}`;
}

function waits(code: ErrorCode, sentence: string): FailureRow {
  return { cause: 'infrastructure', code, action: 'wait', graceMs: forever, sentence };
}

function ends(cause: AttemptCause, code: ErrorCode, action: FailureAction, sentence: string, graceMs = 0): FailureRow {
  return { cause, code, action, graceMs, sentence };
}

/** How often a step is retried after an attempt failed for a cause, and the delay before each retry. */
type RetryBudget = { retries: number; baseMs: number; maxMs: number };

/**
 * One budget per cause. A retry cannot fix a user's mistake or bad data; a preemption is nobody's fault and costs nothing; infrastructure
 * failures are retried a few times.
 */
export const retryBudgets = {
  user: { retries: 0, baseMs: 0, maxMs: 0 },
  data: { retries: 0, baseMs: 0, maxMs: 0 },
  deadline: { retries: 0, baseMs: 0, maxMs: 0 },
  infrastructure: { retries: 5, baseMs: 250, maxMs: 60_000 },
  gpu: { retries: 3, baseMs: 1_000, maxMs: 60_000 },
  preemption: { retries: Number.POSITIVE_INFINITY, baseMs: 250, maxMs: 30_000 },
} as const satisfies Record<AttemptCause, RetryBudget>;

/** Failed attempts of a step, by cause. */
export type FailureCounts = Partial<Record<AttemptCause, number>>;

/** The cause whose retry budget the step has exceeded, or null while it can be retried. */
export function exhaustedCause(failures: FailureCounts): AttemptCause | null {
  for (const cause of attemptCause.options) if ((failures[cause] ?? 0) > retryBudgets[cause].retries) return cause;
  return null;
}

/** Milliseconds before the next attempt after the `nth` failure (from 1) of a cause; doubles each time up to a limit. */
export function retryDelayMs(cause: AttemptCause, nth: number): number {
  const { baseMs, maxMs } = retryBudgets[cause];
  return Math.min(maxMs, baseMs * 2 ** Math.min(nth - 1, 20));
}

export type FailureFacts = {
  failure: FailureView;
  /** Failed attempts of the step, by cause. */
  failures: FailureCounts;
  /** The newest attempt that failed, else that ran; `avoidNode`: the machine on whose account it failed. */
  attempt: (NonNullable<FailureCard['attempt']> & { avoidNode: string | null }) | null;
};

/** What failed, what was done about it and what to do, for people. Pure. */
export function describeFailure({ failure, failures, attempt }: FailureFacts): FailureCard {
  const avoided = attempt?.avoidNode ?? null;
  return {
    ...failure,
    ...rowOf(failure.code),
    attempt: attempt && { id: attempt.id, ordinal: attempt.ordinal, place: attempt.place, endedAt: attempt.endedAt },
    done: [
      ...attemptCause.options.flatMap((cause) => retriesAfter(cause, failures[cause] ?? 0)),
      ...(avoided === null ? [] : [`New attempts avoid the node ${avoided}.`]),
    ],
  };
}

/** The row of a code; a later release may have written another one. */
function rowOf(code: string): Pick<ErrorRow, 'title' | 'remedy' | 'fix'> {
  const row: ErrorRow | undefined = isKnown(code) ? errorTable[code] : undefined;
  const { title, remedy, fix } = row ?? { title: code, remedy: 'Read the log of the attempt.', fix: 'operator' as const };
  return { title, remedy, fix };
}

const isKnown = (code: string): code is keyof typeof errorTable => Object.hasOwn(errorTable, code);

/** Failures by cause, in the plural. */
const causeWords = {
  user: 'mistakes in the recipe or the settings',
  data: 'bad data',
  infrastructure: 'infrastructure failures',
  preemption: 'preemptions',
  gpu: 'GPU failures',
  deadline: 'exceeded deadlines',
} as const satisfies Record<AttemptCause, string>;

/** What was done after `count` attempts failed for a cause: one sentence, none if none failed. */
function retriesAfter(cause: AttemptCause, count: number): string[] {
  if (count === 0) return [];
  const { retries } = retryBudgets[cause];
  const words = causeWords[cause];
  if (retries === 0) return [`It was not retried after ${words}, which would fail the same way again.`];
  const times = Math.min(count, retries) === 1 ? 'once' : `${Math.min(count, retries)} times`;
  return [`It was retried ${times} after ${words}${retries === Number.POSITIVE_INFINITY ? '' : ` (at most ${retries} retries)`}.`];
}

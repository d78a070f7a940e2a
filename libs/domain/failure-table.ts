import type { AttemptCause, ErrorCode, FailureSignal, FailureView, Finding } from '@cairn/contract';

/**
 * - `wait`: the attempt stays where it is and its step shows the sentence.
 * - `fail`: the step fails; trying again would end alike.
 * - `retry`: a new attempt goes on from the last checkpoint, within the budget of the cause.
 * - `retry_elsewhere`: the same, and the new attempt avoids the node.
 */
export type FailureAction = 'wait' | 'fail' | 'retry' | 'retry_elsewhere';

/** What a signal means. The budget of retries is that of its cause: `retryBudgets`. */
export type FailureRow = {
  cause: AttemptCause;
  code: ErrorCode;
  action: FailureAction;
  /** How long the sign may stand before it is the end of the attempt. */
  graceMs: number;
  /** Counts only while the attempt does not report either: its node may be cut off from the cluster and not from us. */
  onlyWhenSilent?: true;
  /** What happened, for people; the particulars follow it. */
  sentence: string;
};

const second = 1_000;
const minute = 60 * second;
const forever = Number.POSITIVE_INFINITY;

/** The one table of what can happen to an attempt outside its own program. */
export const failureTable = {
  queued: waits('quota_exceeded', 'it waits in the queue of the cluster'),
  quota_exceeded: waits('quota_exceeded', 'a quota of the namespace is used up'),
  no_pod: waits('unschedulable', 'its pod has not been created yet'),
  unschedulable: waits('unschedulable', 'no node can hold its pod now'),
  image_registry_busy: ends('infrastructure', 'image_not_pulled', 'retry', 'the image registry turns the node away', 15 * minute),
  image_pull: ends('user', 'image_not_pulled', 'fail', 'its image cannot be pulled', 3 * minute),
  image_name_invalid: ends('user', 'image_not_pulled', 'fail', 'its image has an invalid name'),
  // The Secret may come a moment after the pod.
  container_configuration: ends('user', 'container_not_created', 'fail', 'its container is wrongly configured', minute),
  container_creation: ends('user', 'container_not_created', 'fail', 'its container cannot be created', 3 * minute),
  // A large image takes minutes to pull, and a volume that cannot be mounted shows no other sign than this.
  container_creating: ends('infrastructure', 'pod_not_started', 'retry', 'its container is being created', 20 * minute),

  node_silent: {
    ...ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node does not answer', 2 * minute),
    onlyWhenSilent: true,
  },
  // A GPU that turns bad kills nothing by itself; whoever uses it fails or hangs, and that is the end.
  gpu_unhealthy: { cause: 'gpu', code: 'gpu_failed', action: 'wait', graceMs: forever, sentence: 'a GPU of its node is unhealthy' },

  container_start: ends('user', 'container_not_created', 'fail', 'its program could not be started'),
  admission_refused: ends('infrastructure', 'pod_lost', 'retry_elsewhere', 'its node refused the pod'),
  ended_without_result: ends('infrastructure', 'program_failed', 'retry', 'its agent ended without telling a result'),
  agent_failed: ends('user', 'program_failed', 'fail', 'its agent failed'),
  agent_configuration: ends('user', 'invalid_configuration', 'fail', 'its agent refused its configuration'),
  agent_superseded: ends('infrastructure', 'superseded', 'retry', 'its agent found the attempt replaced'),
  agent_preempted: ends('preemption', 'preempted', 'retry', 'its agent saved what it had and gave way'),
  out_of_memory: ends('user', 'out_of_memory', 'fail', 'it used more memory than its pod may'),
  shared_memory_full: ends('user', 'shared_memory_full', 'fail', 'its shared memory was full'),
  killed: ends('infrastructure', 'pod_lost', 'retry', 'it was killed from outside'),
  node_pressure: ends('infrastructure', 'pod_lost', 'retry_elsewhere', 'its node ran out of memory or disk and evicted the pod'),
  node_shutdown: ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node shut down'),
  preempted: ends('preemption', 'preempted', 'retry', 'a pod of higher priority took its place'),
  drained: ends('preemption', 'preempted', 'retry', 'its pod was evicted, as a drain of the node does'),
  node_lost: ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node was lost'),
  node_gone: ends('infrastructure', 'node_lost', 'retry_elsewhere', 'its node is gone'),
  failed_beside_sick_gpu: ends('gpu', 'gpu_failed', 'retry_elsewhere', 'it failed on a node with an unhealthy GPU'),
  deadline_exceeded: ends('deadline', 'deadline_exceeded', 'fail', 'it ran longer than its pool allows'),
  pod_gone: ends('infrastructure', 'pod_lost', 'retry', 'its pod was removed'),
} as const satisfies Record<FailureSignal, FailureRow>;

export type Assessment = {
  /** True when the attempt is over: it ended, or has waited in vain for as long as the sign allows. */
  over: boolean;
  action: FailureAction;
  /** What comes of it, and when, if the sign stands: for people, as the end of a sentence. Null when it is over or only waits. */
  next: string | null;
  /** What is charged when it is over, and shown before. */
  failure: FailureView;
};

/** Whether a finding is the end of the attempt. Pure: `now` is in milliseconds since the epoch. */
export function assess({ signal, since, message: particulars }: Finding, { now, silent }: { now: number; silent: boolean }): Assessment {
  const row: FailureRow = failureTable[signal];
  const stands = now - since >= row.graceMs;
  const message = particulars === '' ? row.sentence : `${row.sentence}: ${particulars}`;
  const over = stands && (silent || row.onlyWhenSilent !== true);
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
  const what = action === 'fail' ? 'its step fails' : `a new attempt takes its place${where}`;
  return `${what} at ${at}${onlyWhenSilent ? ', unless it reports' : ''}`;
}

function waits(code: ErrorCode, sentence: string): FailureRow {
  return { cause: 'infrastructure', code, action: 'wait', graceMs: forever, sentence };
}

function ends(cause: AttemptCause, code: ErrorCode, action: FailureAction, sentence: string, graceMs = 0): FailureRow {
  return { cause, code, action, graceMs, sentence };
}

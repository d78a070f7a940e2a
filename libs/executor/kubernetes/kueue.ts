import { type FailureSignal, ownValue } from '@cairn/contract';
import { type Condition, conditionOf, type Workload } from './cluster-objects.ts';
import type { UndatedFinding } from './pod-failure.ts';

/** Kueue's view of a suspended Job. */
export type QueueState = {
  /** Of the LocalQueue that the pool names. */
  queueName: string;
  namespace: string;
  /** The WorkloadPriorityClass of the pool; Kueue does not pick up a Job whose class does not exist. */
  priorityClass: string | null;
  /** Whether that LocalQueue exists; null when it could not be queried. */
  queueExists: boolean | null;
  workload: Workload | null;
  place: QueuePlace | null;
  /** Since the Job was created. */
  waitedMs: number;
};

/** The position of a Workload among those that wait, 0 for the next. */
export type QueuePlace = { inLocalQueue: number; inClusterQueue: number };

/** Kueue picks a Job up within a moment; one that it has not picked up after this long it never will. */
const notPickedUpAfterMs = 60_000;

/** Reasons of the condition QuotaReserved while it is False; a version may give others, for which the message is shown. */
const waitingTexts: Readonly<Record<string, string>> = {
  NoMatchingFlavor: 'no flavor of its ClusterQueue suits its pod',
  WaitingForQuota: 'its quota is used up',
  ExceedsMaxQuota: 'its pod requests more than the whole quota',
  TopologyPlacementFailed: 'no machine of the topology can hold its pod now',
  WaitingForPreemptedWorkloads: 'others are making room for it',
  Misconfigured: 'its queue is wrongly configured',
  Inadmissible: 'its queue does not accept it',
};

/** Reasons of the condition Evicted while the Workload waits again (Kueue's apis/kueue/v1beta2/workload_types.go). */
const evictedTexts: Readonly<Record<string, string>> = {
  PodsReadyTimeout: 'its pod was not ready in time, and it waits again',
  AdmissionCheck: 'an admission check sent it back',
  ClusterQueueStopped: 'its ClusterQueue is stopped',
  LocalQueueStopped: 'its LocalQueue is stopped',
  Deactivated: 'it was deactivated, and waits until its Workload is set active again',
};

/** Why a Job waits in a queue of Kueue and its position, for people; empty while Kueue has reported nothing. Pure. */
export function queuedMessage(state: QueueState): string {
  const { workload, queueName, namespace } = state;
  if (workload === null) return notPickedUp(state);
  const why = whyQueued(workload);
  const { place } = state;
  const at =
    place === null
      ? `LocalQueue ${queueName} of namespace ${namespace}`
      : `place ${place.inLocalQueue + 1} in LocalQueue ${queueName} of namespace ${namespace}, ${place.inClusterQueue + 1} in its ClusterQueue`;
  return why === '' ? at : `${at}; ${why}`;
}

function notPickedUp({ queueName, namespace, priorityClass, queueExists, waitedMs }: QueueState): string {
  if (queueExists === false) return `namespace ${namespace} has no LocalQueue ${queueName}`;
  if (waitedMs < notPickedUpAfterMs) return '';
  const unknownClass = priorityClass === null ? '' : `, or has no WorkloadPriorityClass ${priorityClass}`;
  return `Kueue has not picked it up: it is not running, or does not manage namespace ${namespace}${unknownClass}`;
}

function whyQueued(workload: Workload): string {
  const reserved = conditionOf(workload, 'QuotaReserved');
  if (reserved?.status === 'True') {
    const checks = workload.status?.admissionChecks?.filter(({ state }) => state !== 'Ready') ?? [];
    const named = checks.map(({ name, message }) => `${name}${message ? ` (${message})` : ''}`).join(', ');
    return `its quota is reserved${named === '' ? '' : `, and it waits for the admission check ${named}`}`;
  }
  const evicted = conditionOf(workload, 'Evicted');
  const isEvicted = evicted?.status === 'True';
  const parts = [isEvicted ? conditionText(evicted, evictedTexts) : '', reserved ? conditionText(reserved, waitingTexts) : ''];
  return parts.filter((part) => part !== '').join('; ');
}

function conditionText({ reason, message }: Condition, words: Readonly<Record<string, string>>): string {
  // Kueue's own deactivations are DeactivatedDueToRequeuingLimitExceeded or similar.
  const kind = (reason ?? '').replace(/DueTo.*/, '');
  return [words[kind], message].filter((part) => part).join(': ');
}

/** What an eviction means for the attempt, by its reason; any other, such as a pod that was not ready in time, is like a pod that is gone: not retried without end. */
const evictionSignals: Readonly<Record<string, FailureSignal>> = {
  Preempted: 'preempted',
  NodeFailures: 'node_lost',
  AdmissionCheck: 'drained',
  ClusterQueueStopped: 'drained',
  LocalQueueStopped: 'drained',
  Deactivated: 'drained',
};
/** These end an attempt; after the others, a Job whose pod never existed continues to wait. */
const endings: readonly string[] = ['Preempted', 'NodeFailures'];

/**
 * Why Kueue took back the place of a Job, where that ends the attempt: its Workload waits for a place again, and its pod is
 * deleted or has ended already (`hasEnded`). Null while the Workload keeps its place, or waits for another reason.
 */
export function evictedFor(workload: Workload | null, { hasEnded }: { hasEnded: boolean }): UndatedFinding | null {
  const evicted = workload === null ? undefined : conditionOf(workload, 'Evicted');
  if (evicted?.status !== 'True') return null;
  const { message, lastTransitionTime } = evicted;
  const reason = evicted.reason ?? '';
  if (!hasEnded && !endings.includes(reason)) return null;
  const signal = ownValue(evictionSignals, reason) ?? 'pod_gone';
  return { signal, since: lastTransitionTime ?? null, message: `Kueue evicted it${message ? `: ${message}` : ''}` };
}

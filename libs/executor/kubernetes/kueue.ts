import { type FailureSignal, ownValue } from '@cairn/contract';
import { type Condition, conditionOf, type Workload } from './cluster-objects.ts';
import type { Sign } from './pod-failure.ts';

/** What Kueue has of a suspended Job. */
export type QueueSight = {
  /** Of the LocalQueue that the pool names. */
  queueName: string;
  namespace: string;
  /** The WorkloadPriorityClass that the pool names; Kueue takes up no Job of one that is not there. */
  priorityClass: string | null;
  /** Whether that LocalQueue is there; null when it could not be asked. */
  queueExists: boolean | null;
  workload: Workload | null;
  place: QueuePlace | null;
  /** Since the Job was made. */
  waitedMs: number;
};

/** Where a Workload stands among those that wait, 0 for the next. */
export type QueuePlace = { inLocalQueue: number; inClusterQueue: number };

/** Kueue takes a Job up within a moment; one that it has not taken up for this long it will not. */
const untakenAfterMs = 60_000;

/** Reasons of the condition QuotaReserved while it is False; a version may give others, whose message has to do. */
const waitingWords: Readonly<Record<string, string>> = {
  NoMatchingFlavor: 'no flavor of its ClusterQueue suits its pod',
  WaitingForQuota: 'its quota is used up now',
  ExceedsMaxQuota: 'its pod asks for more than the whole quota',
  TopologyPlacementFailed: 'no machine of the topology can hold its pod now',
  WaitingForPreemptedWorkloads: 'others are making room for it',
  Misconfigured: 'its queue is wrongly configured',
  Inadmissible: 'its queue does not take it',
};

/** Reasons of the condition Evicted while the Workload waits again (Kueue's apis/kueue/v1beta2/workload_types.go). */
const evictedWords: Readonly<Record<string, string>> = {
  PodsReadyTimeout: 'its pod was not ready in time, and it waits again',
  AdmissionCheck: 'an admission check sent it back',
  ClusterQueueStopped: 'its ClusterQueue is stopped',
  LocalQueueStopped: 'its LocalQueue is stopped',
  Deactivated: 'it was deactivated, and waits until its Workload is set active again',
};

/** Why a Job waits in a queue of Kueue and where it stands, for people; empty when Kueue has yet to say something. Pure. */
export function queuedMessage(sight: QueueSight): string {
  const { workload, queueName, namespace } = sight;
  if (workload === null) return untaken(sight);
  const why = whyQueued(workload);
  const { place } = sight;
  const at =
    place === null
      ? `LocalQueue ${queueName} of namespace ${namespace}`
      : `place ${place.inLocalQueue + 1} in LocalQueue ${queueName} of namespace ${namespace}, ${place.inClusterQueue + 1} in its ClusterQueue`;
  return why === '' ? at : `${at}; ${why}`;
}

function untaken({ queueName, namespace, priorityClass, queueExists, waitedMs }: QueueSight): string {
  if (queueExists === false) return `namespace ${namespace} has no LocalQueue ${queueName}`;
  if (waitedMs < untakenAfterMs) return '';
  const unknownClass = priorityClass === null ? '' : `, or has no WorkloadPriorityClass ${priorityClass}`;
  return `Kueue has not taken it up: it does not run, or does not manage namespace ${namespace}${unknownClass}`;
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
  const parts = [isEvicted ? said(evicted, evictedWords) : '', reserved ? said(reserved, waitingWords) : ''];
  return parts.filter((part) => part !== '').join('; ');
}

function said({ reason, message }: Condition, words: Readonly<Record<string, string>>): string {
  // What Kueue itself deactivates is DeactivatedDueToRequeuingLimitExceeded, or another.
  const kind = (reason ?? '').replace(/DueTo.*/, '');
  return [words[kind], message].filter((part) => part).join(': ');
}

/** What an eviction is to the attempt, by its reason; one for another, such as a pod not ready in time, is like a pod that is gone: not tried without end. */
const evictionSignals: Readonly<Record<string, FailureSignal>> = {
  Preempted: 'preempted',
  NodeFailures: 'node_lost',
  AdmissionCheck: 'drained',
  ClusterQueueStopped: 'drained',
  LocalQueueStopped: 'drained',
  Deactivated: 'drained',
};
/** These end an attempt; after the others a Job whose pod never was goes on waiting. */
const endings: readonly string[] = ['Preempted', 'NodeFailures'];

/**
 * Why Kueue took back the place of a Job, where that is the end of the attempt: its Workload waits at its place again, and its pod is
 * deleted, or has ended already, which `hasEnded` says. Null while the Workload keeps its place, or waits for another cause.
 */
export function evictedFor(workload: Workload | null, { hasEnded }: { hasEnded: boolean }): Sign | null {
  const evicted = workload === null ? undefined : conditionOf(workload, 'Evicted');
  if (evicted?.status !== 'True') return null;
  const { message, lastTransitionTime } = evicted;
  const reason = evicted.reason ?? '';
  if (!hasEnded && !endings.includes(reason)) return null;
  const signal = ownValue(evictionSignals, reason) ?? 'pod_gone';
  return { signal, since: lastTransitionTime ?? null, message: `Kueue evicted it${message ? `: ${message}` : ''}` };
}

import { type FailureSignal, isCairnError, ownValue } from '@cairn/contract';
import type { Logger } from '@cairn/runtime';
import type { Watch } from '@kubernetes/client-node';
import { type ClusterApi, statusOf } from './cluster-api.ts';
import { type Condition, conditionOf, type Job, type Workload, workloadObject } from './cluster-objects.ts';
import type { UndatedFinding } from './pod-failure.ts';
import type { KubernetesPoolSettings } from './pool-settings.ts';
import { type WatchedList, watchedList } from './watched-list.ts';

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
type QueuePlace = { inLocalQueue: number; inClusterQueue: number };

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

type QueueWatchOptions = {
  pool: string;
  settings: KubernetesPoolSettings & { kueue: NonNullable<KubernetesPoolSettings['kueue']> };
  api: ClusterApi;
  watch: Pick<Watch, 'watch'>;
  log: Logger;
};

/** Kueue's view of the Jobs of one pool. */
export type QueueWatch = {
  workloadOf(job: Job): Workload | null;
  /** Why a suspended Job waits and its position; empty while nothing is known. */
  message(job: Job, signal: AbortSignal): Promise<string>;
  close(): Promise<void>;
};

const jobUidLabel = 'kueue.x-k8s.io/job-uid';
/** Positions change with every admission: one request returns those of all. */
const refreshMs = 15_000;

/** Follows the Workloads of the pool's namespace, and fetches positions in its LocalQueue while a Job waits there. */
export function watchQueue({ pool, settings, api, watch, log }: QueueWatchOptions): QueueWatch {
  const { namespace, kueue } = settings;
  const workloads: WatchedList<Workload> = watchedList<Workload>({
    name: `Workloads of pool ${pool}`,
    watch,
    log,
    path: `/apis/kueue.x-k8s.io/v1beta2/namespaces/${namespace}/workloads`,
    query: { labelSelector: jobUidLabel },
    list: (signal) => api.listWorkloads(jobUidLabel, signal),
    parse: (object) => workloadObject.parse(object),
  });
  const places = throttled(async (signal) => new Map(await placesIn(signal)));
  const queueExists = throttled((signal) => exists(signal));

  /** By the Workload's name; none where Kueue does not serve its visibility API, or the account may not use it. */
  async function placesIn(signal: AbortSignal): Promise<[string, QueuePlace][]> {
    try {
      const { items } = await api.pendingWorkloads(kueue.queueName, signal);
      return (items ?? []).map((item) => [
        item.metadata.name,
        { inLocalQueue: item.positionInLocalQueue, inClusterQueue: item.positionInClusterQueue },
      ]);
    } catch (error) {
      if (isCairnError(error)) return [];
      throw error;
    }
  }

  async function exists(signal: AbortSignal): Promise<boolean | null> {
    try {
      await api.readLocalQueue(kueue.queueName, signal);
      return true;
    } catch (error) {
      if (!isCairnError(error)) throw error;
      // If Kueue is not installed, there is no queue either.
      return statusOf(error) === 404 ? false : null;
    }
  }

  const workloadOf = ({ metadata }: Job) =>
    workloads.items().find((workload) => workload.metadata.labels?.[jobUidLabel] === metadata.uid) ?? null;

  return {
    workloadOf,
    async message(job, signal) {
      const workload = workloadOf(job);
      const { queueName } = kueue;
      return queuedMessage({
        queueName,
        namespace,
        priorityClass: kueue.priorityClass ?? null,
        workload,
        queueExists: workload === null ? await queueExists(signal) : true,
        place: workload === null ? null : ((await places(signal)).get(workload.metadata.name) ?? null),
        waitedMs: Date.now() - (job.metadata.creationTimestamp ?? Date.now()),
      });
    },
    close: () => workloads.close(),
  };
}

/** Calls at most once in a while, however many callers need the answer. */
function throttled<T>(ask: (signal: AbortSignal) => Promise<T>): (signal: AbortSignal) => Promise<T> {
  let known: { at: number; answer: T } | null = null;
  return async (signal) => {
    if (known === null || Date.now() - known.at >= refreshMs) known = { at: Date.now(), answer: await ask(signal) };
    return known.answer;
  };
}

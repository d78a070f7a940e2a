import { isCairnError } from '@cairn/contract';
import type { Logger } from '@cairn/runtime';
import type { Watch } from '@kubernetes/client-node';
import { type ClusterApi, statusOf } from './cluster-api.ts';
import { type Job, type Workload, workloadObject } from './cluster-objects.ts';
import { type QueuePlace, queuedMessage } from './kueue.ts';
import type { KubernetesPoolSettings } from './pool-settings.ts';
import { type WatchedList, watchedList } from './watched-list.ts';

export type QueueWatchOptions = {
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

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

/** What Kueue says of the Jobs of one pool. */
export type QueueWatch = {
  workloadOf(job: Job): Workload | null;
  /** Why a suspended Job waits and where it stands; empty while nothing is known. */
  message(job: Job, signal: AbortSignal): Promise<string>;
  close(): Promise<void>;
};

const jobUidLabel = 'kueue.x-k8s.io/job-uid';
/** Places change with every admission: one request tells those of all. */
const askAgainMs = 15_000;

/** Follows the Workloads of the pool's namespace, and asks for places in its LocalQueue while a Job waits there. */
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
  const places = rarely(async (signal) => new Map(await placesIn(signal)));
  const queueExists = rarely((signal) => exists(signal));

  /** By the Workload's name; none where Kueue does not serve its visibility API, or the account may not ask it. */
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
      // Of a Kueue that is not installed there is no queue either.
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

/** Asks at most once in a while, whoever wants the answer. */
function rarely<T>(ask: (signal: AbortSignal) => Promise<T>): (signal: AbortSignal) => Promise<T> {
  let known: { at: number; answer: T } | null = null;
  return async (signal) => {
    if (known === null || Date.now() - known.at >= askAgainMs) known = { at: Date.now(), answer: await ask(signal) };
    return known.answer;
  };
}

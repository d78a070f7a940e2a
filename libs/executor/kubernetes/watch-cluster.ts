import type { Logger } from '@cairn/runtime';
import type { Watch } from '@kubernetes/client-node';
import type { ClusterApi } from './cluster-api.ts';
import { type Job, jobObject, type Node, nodeObject, type Pod, podObject } from './cluster-objects.ts';
import type { KubernetesPoolSettings } from './pool-settings.ts';
import { type WatchedList, watchedList } from './watched-list.ts';

export type ClusterWatchOptions = {
  pool: string;
  settings: KubernetesPoolSettings;
  api: ClusterApi;
  watch: Pick<Watch, 'watch'>;
  selector: string;
  onChange(object: Job | Pod, gone: boolean): void;
  log: Logger;
};

/** What one pool needs to follow in the cluster: its Jobs and pods, the nodes, and for admission every pod that has a node. */
export type ClusterWatch = {
  jobs(): Job[];
  pods(): Pod[];
  /** Null when there is none of this name, or nodes may not be read. */
  node(name: string | null): Node | null;
  /** The known nodes; none when nodes may not be read. */
  nodes(): Node[];
  /** Nodes and the placed pods of all namespaces; null when the account may not read them. Followed from the first call on. */
  everything(signal: AbortSignal): Promise<{ nodes: Node[]; pods: Pod[] } | null>;
  isCurrent(): boolean;
  /** Waits for the first lists of Jobs and pods. */
  ready(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
};

export function watchCluster({ pool, settings, api, watch, selector, onChange, log }: ClusterWatchOptions): ClusterWatch {
  const { namespace } = settings;
  const base = { watch, log };
  const jobs = watchedList<Job>({
    ...base,
    name: `Jobs of pool ${pool}`,
    path: `/apis/batch/v1/namespaces/${namespace}/jobs`,
    query: { labelSelector: selector },
    list: (signal) => api.listJobs(selector, signal),
    parse: (object) => jobObject.parse(object),
    onChange,
  });
  const pods = watchedList<Pod>({
    ...base,
    name: `Pods of pool ${pool}`,
    path: `/api/v1/namespaces/${namespace}/pods`,
    query: { labelSelector: selector },
    list: (signal) => api.listPods(selector, signal),
    parse: (object) => podObject.parse(object),
    onChange,
  });
  const nodes = watchedList<Node>({
    ...base,
    name: 'Nodes',
    path: '/api/v1/nodes',
    query: {},
    list: (signal) => api.listNodes(signal),
    parse: (object) => nodeObject.parse(object),
  });
  let placed: WatchedList<Pod> | null = null;

  function placedPods(): WatchedList<Pod> {
    const fieldSelector = 'spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed';
    placed ??= watchedList<Pod>({
      ...base,
      name: 'Pods of the cluster',
      path: '/api/v1/pods',
      query: { fieldSelector },
      list: (signal) => api.listAllPods(fieldSelector, signal),
      parse: (object) => podObject.parse(object),
    });
    return placed;
  }

  return {
    jobs: () => jobs.items(),
    pods: () => pods.items(),
    node: (name) => (name === null ? null : (nodes.items().find((node) => node.metadata.name === name) ?? null)),
    nodes: () => nodes.items(),
    async everything(signal) {
      const all = placedPods();
      await Promise.all([nodes.answered(signal), all.answered(signal)]);
      return nodes.isDenied() || all.isDenied() ? null : { nodes: nodes.items(), pods: all.items() };
    },
    isCurrent: () => jobs.isCurrent() && pods.isCurrent(),
    async ready(signal) {
      await Promise.all([jobs.answered(signal), pods.answered(signal)]);
      if (jobs.isDenied() || pods.isDenied()) throw new Error(`the account may not read Jobs and pods of namespace ${namespace}`);
    },
    close: async () => void (await Promise.all([jobs, pods, nodes, placed].map((list) => list?.close()))),
  };
}

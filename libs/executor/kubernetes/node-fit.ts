import type { PoolNode, PoolRoom } from '@cairn/contract';
import type { V1Toleration } from '@kubernetes/client-node';
import { attemptLabel, generationLabel } from '../attempt-containers.ts';
import { parseQuantity, sharedMemoryBytes } from '../container-settings.ts';
import { conditionOf, type Job, type Node, type Pod } from './cluster-objects.ts';
import { isTerminal } from './pod-failure.ts';
import { tolerations } from './pod-spec.ts';
import type { KubernetesPoolSettings } from './pool-settings.ts';

/** What one pod of a pool requests of a node. */
export type PodNeeds = {
  gpuResource: string;
  gpus: number;
  /** Cores. */
  cpu: number;
  /** Bytes. */
  memory: number;
  nodeSelector: Readonly<Record<string, string>>;
  tolerations: readonly V1Toleration[];
};

/** @param loaderBytes what its loaders keep in shared memory: counts unless the pool sets that size */
export function podNeeds(settings: KubernetesPoolSettings, loaderBytes: number): PodNeeds {
  return {
    gpuResource: settings.gpuResource,
    gpus: settings.gpusPerPod,
    cpu: parseQuantity(settings.cpu),
    memory: parseQuantity(settings.memory) + sharedMemoryBytes({ loaderBytes }, settings),
    nodeSelector: settings.nodeSelector,
    tolerations: tolerations(settings),
  };
}

/** How many pods the nodes can hold, and each node as a sentence and as data. */
type NodeFit = { fits: number; sentences: string[]; nodes: PoolNode[] };

/**
 * How many pods of a pool the nodes can hold now, with a sentence for each node that the pool may use. Like the scheduler,
 * it counts what pods request, not what they use. Pure.
 *
 * @param pods of all namespaces
 */
export function nodeFit(nodes: readonly Node[], pods: readonly Pod[], needs: PodNeeds): NodeFit {
  const mine = nodes.filter((node) => hasLabels(node, needs.nodeSelector));
  if (mine.length === 0) {
    const labels = Object.entries(needs.nodeSelector).map(([key, value]) => `${key}=${value}`);
    const sentence = labels.length === 0 ? 'the cluster has no node' : `no node has the labels ${labels.join(', ')}`;
    return { fits: 0, sentences: [sentence], nodes: [] };
  }
  const byNode = Map.groupBy(
    pods.filter((pod) => pod.spec.nodeName && !isTerminal(pod)),
    (pod) => pod.spec.nodeName,
  );
  const fits = mine.map((node) => fitOf(node, byNode.get(node.metadata.name) ?? [], needs));
  return {
    fits: fits.reduce((sum, { node }) => sum + node.fits, 0),
    sentences: fits.map(({ sentence }) => sentence),
    nodes: fits.map(({ node }) => node),
  };
}

/** The nodes to avoid, unless that would leave none that the pool may use: retrying on a single node is better than waiting for another. */
export function avoidable(avoid: readonly string[], nodes: readonly Node[], nodeSelector: Readonly<Record<string, string>>): string[] {
  const mine = nodes.filter((node) => hasLabels(node, nodeSelector)).map((node) => node.metadata.name);
  return mine.length > 0 && mine.every((name) => avoid.includes(name)) ? [] : [...avoid];
}

function fitOf(node: Node, pods: readonly Pod[], needs: PodNeeds): { node: PoolNode; sentence: string } {
  const { name } = node.metadata;
  const refusal = refusalOf(node, needs.tolerations);
  const has = amount(node.status?.capacity, needs.gpuResource);
  const unhealthy = has - amount(node.status?.allocatable, needs.gpuResource);
  const free = (resource: string) =>
    amount(node.status?.allocatable, resource) - pods.reduce((sum, pod) => sum + requestOf(pod, resource), 0);
  const gpus = free(needs.gpuResource);
  const rooms = [
    free('cpu') / needs.cpu,
    free('memory') / needs.memory,
    ...(needs.gpus > 0 ? [gpus / needs.gpus] : []),
    ...(node.status?.allocatable?.pods === undefined ? [] : [amount(node.status.allocatable, 'pods') - pods.length]),
  ];
  const fit = refusal === null ? Math.max(0, Math.floor(Math.min(...rooms))) : 0;
  const asData: PoolNode = {
    name,
    gpus: needs.gpus === 0 ? null : { total: has, free: Math.max(0, gpus), unhealthy: Math.max(0, unhealthy) },
    fits: fit,
    refusal,
  };
  if (refusal !== null) return { node: asData, sentence: `node ${name}: ${refusal}` };
  const cores = `${Math.floor(free('cpu') * 10) / 10} of ${amount(node.status?.allocatable, 'cpu')} cores`;
  const gib = `${Math.floor(free('memory') / 2 ** 30)} of ${Math.floor(amount(node.status?.allocatable, 'memory') / 2 ** 30)} GiB`;
  if (needs.gpus === 0) return { node: asData, sentence: `node ${name}: ${cores} and ${gib} free` };
  const sentence = `node ${name}: ${Math.max(0, gpus)} of ${has} GPUs free${unhealthy > 0 ? `, ${unhealthy} unhealthy` : ''}`;
  // Then the GPUs alone do not explain why the pod does not fit.
  return { node: asData, sentence: fit === 0 && gpus >= needs.gpus ? `${sentence}, but only ${cores} and ${gib}` : sentence };
}

function refusalOf(node: Node, tolerations: readonly V1Toleration[]): string | null {
  if (conditionOf(node, 'Ready')?.status !== 'True') return 'not ready';
  if (node.spec?.unschedulable) return 'cordoned';
  const taint = node.spec?.taints?.find(
    (candidate) => candidate.effect !== 'PreferNoSchedule' && !tolerations.some((toleration) => tolerates(toleration, candidate)),
  );
  return taint ? `tainted ${taint.key}${taint.value ? `=${taint.value}` : ''}` : null;
}

type Taint = NonNullable<NonNullable<NonNullable<Node['spec']>['taints']>[number]>;

function tolerates(toleration: V1Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  return toleration.operator === 'Exists' || (toleration.key !== undefined && (toleration.value ?? '') === (taint.value ?? ''));
}

/** As the scheduler counts: containers and sidecars together, or the largest init container before them, plus the overhead. */
function requestOf(pod: Pod, resource: string): number {
  const init = pod.spec.initContainers ?? [];
  const sidecars = init.filter((container) => container.restartPolicy === 'Always');
  const together = [...pod.spec.containers, ...sidecars].reduce(
    (sum, container) => sum + amount(container.resources?.requests, resource),
    0,
  );
  const before = init
    .filter((container) => container.restartPolicy !== 'Always')
    .map((container) => amount(container.resources?.requests, resource));
  return Math.max(together, ...before) + amount(pod.spec.overhead, resource);
}

function hasLabels(node: Node, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(labels).every(([key, value]) => node.metadata.labels?.[key] === value);
}

function amount(quantities: Record<string, string> | null | undefined, resource: string): number {
  const text = quantities?.[resource];
  return text === undefined ? 0 : parseQuantity(text);
}

type Promised = {
  /** Attempts that should run in the pool, whether their Job exists yet or not. */
  live: ReadonlySet<string>;
  views: readonly AttemptView[];
  /** The pool's pods that have a node and have not ended, from the same snapshot as the nodes' free places. */
  placed: readonly Pod[];
};

/** What is free once every attempt that should run and has no node yet has got one. Pure. */
export function withoutPromised({ fits, sentences, nodes }: NodeFit, { live, views, placed }: Promised): PoolRoom {
  const withNode = new Set(placed.map((pod) => identityOf(pod)?.attemptId));
  const ended = new Set(views.filter((view) => view.pods.length > 0 && view.pods.every(isTerminal)).map((view) => view.attemptId));
  const wanting = new Set([...live, ...views.filter((view) => !isOver(view)).map((view) => view.attemptId)]);
  const promised = [...wanting].filter((attemptId) => !withNode.has(attemptId) && !ended.has(attemptId)).length;
  const leaving = [...withNode].filter((attemptId) => attemptId !== undefined && !live.has(attemptId)).length;
  const taken =
    promised === 0 ? [] : [`the next ${promised === 1 ? 'place is' : `${promised} places are`} taken by attempts that were just started`];
  return { fits: Math.max(0, fits - promised), leaving, sentences: [...taken, ...sentences], nodes };
}

/** The cluster's objects of one generation of an attempt. */
export type AttemptView = {
  attemptId: string;
  generation: number;
  job: Job | null;
  pods: Pod[];
};

/** Jobs and pods by the attempt and generation that their labels name. */
export function attemptViews(jobs: readonly Job[], pods: readonly Pod[]): AttemptView[] {
  const views = new Map<string, AttemptView>();
  const viewFor = (object: Job | Pod): AttemptView | null => {
    const identity = identityOf(object);
    if (identity === null) return null;
    const key = `${identity.attemptId}.${identity.generation}`;
    const view = views.get(key) ?? { ...identity, job: null, pods: [] };
    views.set(key, view);
    return view;
  };
  for (const job of jobs) {
    const view = viewFor(job);
    if (view) view.job = job;
  }
  for (const pod of pods) viewFor(pod)?.pods.push(pod);
  return [...views.values()];
}

/** Only the newest generation of each attempt: older ones are ended before it starts. */
export function newestViews(jobs: readonly Job[], pods: readonly Pod[]): AttemptView[] {
  const newest = new Map<string, AttemptView>();
  for (const view of attemptViews(jobs, pods)) {
    if ((newest.get(view.attemptId)?.generation ?? -1) < view.generation) newest.set(view.attemptId, view);
  }
  return [...newest.values()];
}

export function identityOf(object: Job | Pod): { attemptId: string; generation: number } | null {
  const attemptId = object.metadata.labels?.[attemptLabel];
  const generation = Number(object.metadata.labels?.[generationLabel]);
  return attemptId && Number.isInteger(generation) ? { attemptId, generation } : null;
}

/** True when nothing is left of it that could run. */
export function isOver(view: AttemptView): boolean {
  return view.job === null && view.pods.every(isTerminal);
}

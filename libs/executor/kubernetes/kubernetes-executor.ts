import { CairnError, type FailureSignal, type Finding, isCairnError, type PoolRoom } from '@cairn/contract';
import { deadline, type Logger, sleep } from '@cairn/runtime';
import { type KubeConfig, Watch } from '@kubernetes/client-node';
import { isOf, labelSelector, nameAnnotation, objectName, type PoolIdentity } from '../attempt-containers.ts';
import { type Executor, type Launched, type LaunchSpec, oneAtATime, overdue, type Snapshot, type StopRequest } from '../executor.ts';
import { type ClusterApi, clusterApi } from './cluster-api.ts';
import { type ClusterEvent, isPod, type Job, type Pod } from './cluster-objects.ts';
import { evictedFor, type QueueWatch, watchQueue } from './kueue.ts';
import {
  type AttemptView,
  attemptViews,
  avoidable,
  identityOf,
  isOver,
  newestViews,
  nodeFit,
  podNeeds,
  withoutPromised,
} from './node-fit.ts';
import { diagnose, isTerminal } from './pod-failure.ts';
import { type AttemptMemory, agentContainer, attemptMemory, jobManifest, secretManifest } from './pod-spec.ts';
import type { KubernetesPoolSettings } from './pool-settings.ts';
import { findOrphans, reap, secretsOf } from './reaper.ts';
import { watchCluster } from './watched-list.ts';

export type KubernetesExecutorOptions = PoolIdentity & {
  settings: KubernetesPoolSettings;
  kubeConfig: KubeConfig;
  log: Logger;
};

/** How long `observe` waits for the first list. */
const firstListMs = 10_000;
/** How long `start` waits for an older generation to be gone. */
const goneLimitMs = 60_000;
const reapEveryMs = 60_000;
/** A Job is without a pod for a moment after its creation; after this time its events say why. */
const podlessAfterMs = 3_000;
/** The findings of an attempt that waits in a queue, or whose place its queue has taken back: the queue itself can say more. */
const takenByQueue: readonly FailureSignal[] = ['queued', 'killed', 'pod_gone', 'drained'];
/** A repeated stop is only sent if it ends this much sooner. */
const soonerMs = 2_000;

/**
 * Runs attempts as pods: one Job with one pod each. All state is in the cluster, found by labels, so that
 * any executor of the same instance and pool adopts them. Watches from its creation on.
 */
export function kubernetesExecutor(options: KubernetesExecutorOptions): Executor {
  const { settings, kubeConfig, log } = options;
  const owner: PoolIdentity = { instance: options.instance, pool: options.pool };
  const api = clusterApi(kubeConfig, settings.namespace);
  const memory: AttemptMemory = attemptMemory();
  const listeners = new Set<(attemptId: string) => void>();
  const closing = new AbortController();
  // The names of the objects keep other controllers out.
  const attempts = oneAtATime();
  const cluster = watchCluster({ ...options, api, watch: new Watch(kubeConfig), selector: labelSelector(owner), onChange });
  const queue = settings.kueue
    ? watchQueue({ ...options, settings: { ...settings, kueue: settings.kueue }, api, watch: new Watch(kubeConfig) })
    : null;
  let reapedAt = 0;

  function onChange(object: Job | Pod, gone: boolean): void {
    const identity = identityOf(object);
    if (identity === null) return;
    if (isPod(object) && isTerminal(object)) memory.ended(identity, object);
    if (gone || memory.changed(identity, object)) for (const listener of listeners) listener(identity.attemptId);
  }

  /** What was seen of an attempt; the last state of its pod, when that has ended and is gone. */
  function remembered(view: AttemptView): AttemptView {
    if (view.pods.length > 0) return view;
    const pod = memory.endedPod(view);
    return pod === null ? view : { ...view, pods: [pod] };
  }

  function views(): AttemptView[] {
    const seen = new Map(newestViews(cluster.jobs(), cluster.pods()).map((view) => [view.attemptId, view]));
    for (const { attemptId, generation, pod } of memory.endedPods()) {
      if (!seen.has(attemptId)) seen.set(attemptId, { attemptId, generation, job: null, pods: [pod] });
    }
    return [...seen.values()].map(remembered);
  }

  /** Queries the API server itself, not the watch. */
  async function lookUp(attemptId: string, signal: AbortSignal): Promise<AttemptView[]> {
    const selector = labelSelector(owner, attemptId);
    const [jobs, pods] = await Promise.all([api.listJobs(selector, signal), api.listPods(selector, signal)]);
    return attemptViews(jobs.items, pods.items);
  }

  async function launch(spec: LaunchSpec, signal: AbortSignal): Promise<Launched> {
    const known = cluster.isCurrent() ? views().find((view) => view.attemptId === spec.attemptId) : undefined;
    if (known?.generation === spec.generation) return launched(spec);
    memory.begin(spec);
    const there = await lookUp(spec.attemptId, signal);
    const newer = there.find((view) => view.generation > spec.generation);
    if (newer) {
      throw new CairnError(
        'superseded',
        `Generation ${newer.generation} of ${spec.attemptId} was started already; ${spec.generation} is too old`,
      );
    }
    const older = there.filter((view) => view.generation < spec.generation);
    if (older.length > 0) await endOlder(spec, older, signal);
    const same = there.find((view) => view.generation === spec.generation);
    if (same?.job) await api.applySecret(secretManifest(spec, owner, settings, same.job.metadata.uid), signal);
    if (same) return launched(spec);
    await api.applySecret(secretManifest(spec, owner, settings), signal);
    const avoidNodes = avoidable(spec.avoidNodes ?? [], cluster.nodes(), settings.nodeSelector);
    const job = (await api.createJob(jobManifest({ ...spec, avoidNodes }, owner, settings), signal)) ?? (await adopt(spec, signal));
    await api.giveSecretTo(objectName(spec), job.metadata.uid, signal);
    return launched(spec);
  }

  /** Another controller created the Job at the same moment; another owner's Job of our name is refused. */
  async function adopt(spec: LaunchSpec, signal: AbortSignal): Promise<Job> {
    const name = objectName(spec);
    const job = await api.readJob(name, signal);
    if (job === null) throw new CairnError('unavailable', `Job ${name} existed and is gone; the next try creates it`);
    const identity = identityOf(job);
    if (identity?.attemptId === spec.attemptId && identity.generation === spec.generation) return job;
    throw new CairnError(
      'invalid_configuration',
      `Job ${settings.namespace}/${name} exists and does not belong to this attempt; delete it, or give the pool its own namespace`,
    );
  }

  async function endOlder(spec: LaunchSpec, older: AttemptView[], signal: AbortSignal): Promise<void> {
    for (const view of older) await end(view, 1, signal);
    const limit = deadline(signal, goneLimitMs);
    for (;;) {
      const left = (await lookUp(spec.attemptId, signal)).filter((view) => view.generation < spec.generation && !isOver(view));
      if (left.length === 0) return;
      await sleep(250, limit).catch(() => {
        signal.throwIfAborted();
        throw new CairnError('unavailable', `An older generation of ${spec.attemptId} does not end; a later try starts it`);
      });
    }
  }

  function launched(spec: LaunchSpec): Launched {
    const name = objectName(spec);
    return { place: `${settings.namespace}/${name}`, handle: name };
  }

  /**
   * Deletes pods and Job; the grace period counts from now. An earlier stop that is due no later is not repeated. The pod
   * first: deleting the Job would give it its full grace period, which the kubelet does not always shorten afterwards.
   */
  async function end(view: AttemptView, graceSeconds: number, signal: AbortSignal): Promise<void> {
    const killAt = Date.now() + graceSeconds * 1000;
    for (const { metadata } of view.pods.filter((pod) => !isTerminal(pod))) {
      const before = Math.min(metadata.deletionTimestamp ?? Number.POSITIVE_INFINITY, memory.killAt(metadata.uid));
      if (before <= killAt + soonerMs) continue;
      await api.deletePod(metadata.name, metadata.uid, graceSeconds, signal);
      memory.willBeKilled(metadata.uid, killAt);
    }
    const { job } = view;
    if (job && !job.metadata.deletionTimestamp) await api.deleteJob(job.metadata.name, job.metadata.uid, signal);
  }

  async function current(attemptId: string): Promise<AttemptView[]> {
    const seen = views().filter((view) => view.attemptId === attemptId);
    return seen.length > 0 ? seen : lookUp(attemptId, deadline(closing.signal, firstListMs));
  }

  async function stop(attemptId: string, { graceSeconds }: StopRequest): Promise<void> {
    for (const view of await current(attemptId)) await end(view, graceSeconds, closing.signal);
  }

  async function forget(attemptId: string): Promise<void> {
    const seen = await lookUp(attemptId, closing.signal);
    for (const view of seen) {
      await end(view, 1, closing.signal);
      if (view.job) await api.deleteSecret(view.job.metadata.name, null, closing.signal);
    }
    memory.forget(attemptId);
  }

  async function observe(signal: AbortSignal): Promise<Snapshot[]> {
    await cluster.ready(deadline(signal, firstListMs)).catch((cause: unknown) => {
      signal.throwIfAborted();
      throw new CairnError('unavailable', `The Jobs of pool ${owner.pool} could not be listed yet`, { cause });
    });
    await clean(signal);
    const snapshots: Snapshot[] = [];
    for (const view of views()) {
      const snapshot = await snapshotOf(view, signal);
      // A forgotten attempt that no longer runs exists for a moment until Kubernetes has removed it.
      if (snapshot.phase === 'running' || !memory.isForgotten(view)) snapshots.push(snapshot);
    }
    memory.keepOnly(new Set(snapshots.map((snapshot) => snapshot.attemptId)));
    return snapshots;
  }

  async function snapshotOf(view: AttemptView, signal: AbortSignal): Promise<Snapshot> {
    const pod = view.pods.find((candidate) => !isTerminal(candidate)) ?? view.pods.at(-1);
    const node = cluster.node(pod?.spec.nodeName ?? null);
    const { finding: found, startedAt = null, ...seen } = diagnose({ ...view, node, gpuResource: settings.gpuResource });
    const sign = overdue(settings, startedAt, Date.now()) ?? found;
    const annotations = view.job?.metadata.annotations ?? pod?.metadata.annotations;
    const name = annotations?.[nameAnnotation] ?? view.attemptId;
    const place = pod?.spec.nodeName
      ? `node ${pod.spec.nodeName}, pod ${pod.metadata.name}`
      : `${settings.namespace}/${view.job?.metadata.name ?? ''}`;
    const nodeName = pod?.spec.nodeName ? { node: pod.spec.nodeName } : {};
    const base = { attemptId: view.attemptId, generation: view.generation, name, place, ...nodeName, ...seen };
    if (sign === null) return { ...base, finding: null };
    const finding = { ...sign, since: sign.since ?? memory.firstSeen(view, sign.signal) };
    if (queue && view.job && takenByQueue.includes(finding.signal)) {
      return { ...base, finding, ...(await inQueue(queue, view.job, finding, signal)) };
    }
    if (finding.signal !== 'no_pod' || !view.job || Date.now() - finding.since < podlessAfterMs) return { ...base, finding };
    const why = await memory.podlessWhy(view, async () => podlessReason(await api.listEvents(view.job?.metadata.uid ?? '', signal)));
    if (why === null) return { ...base, finding };
    return {
      ...base,
      message: why,
      finding: { ...finding, signal: /exceeded quota/i.test(why) ? 'quota_exceeded' : 'no_pod', message: why },
    };
  }

  /** The reason that Kueue gives for a Job that it holds back, or whose place it has taken back: then nothing of the attempt runs any more. */
  async function inQueue(from: QueueWatch, job: Job, finding: Finding, signal: AbortSignal): Promise<Partial<Snapshot>> {
    const evicted = evictedFor(from.workloadOf(job), { hasEnded: finding.signal !== 'queued' });
    if (evicted) return { phase: 'exited', message: evicted.message, finding: { ...evicted, since: evicted.since ?? finding.since } };
    if (finding.signal !== 'queued') return {};
    const message = await from.message(job, signal);
    return message === '' ? {} : { message, finding: { ...finding, message } };
  }

  /** Once a minute: nothing here is urgent. */
  async function clean(signal: AbortSignal): Promise<void> {
    if (Date.now() - reapedAt < reapEveryMs || !cluster.isCurrent()) return;
    reapedAt = Date.now();
    try {
      const secrets = await secretsOf(api, labelSelector(owner), signal);
      await reap(api, findOrphans(cluster.jobs(), cluster.pods(), secrets, Date.now()), settings.graceSeconds, log, signal);
    } catch (error) {
      if (!isCairnError(error)) throw error;
      log.warn({ err: error, pool: owner.pool }, 'orphans could not be removed; retrying');
    }
  }

  async function capacity(signal: AbortSignal, live: ReadonlySet<string>, loaderBytes = 0): Promise<PoolRoom | null> {
    if (settings.kueue || settings.autoscales) return null;
    const seen = await cluster.everything(deadline(signal, firstListMs));
    if (seen === null) return null;
    const free = nodeFit(seen.nodes, seen.pods, podNeeds(settings, loaderBytes));
    return withoutPromised(free, { live, views: views(), placed: seen.pods.filter((pod) => isOf(owner, pod)) });
  }

  return {
    start: (spec, signal) => attempts.run(spec.attemptId, () => launch(spec, signal)),
    stop: (attemptId, request) => attempts.run(attemptId, () => stop(attemptId, request)),
    observe,
    async isGone(attemptId, signal) {
      return (await lookUp(attemptId, signal)).every(isOver);
    },
    capacity,
    isWatching: () => cluster.isCurrent(),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    forget: (attemptId) => attempts.run(attemptId, () => forget(attemptId)),
    async logs(attemptId) {
      const view = (await current(attemptId).catch(() => []))[0];
      return view ? containerLog(api, view.pods.at(-1), view.job, deadline(closing.signal, firstListMs)) : '';
    },
    async close() {
      listeners.clear();
      closing.abort(new Error('the executor is closed'));
      await Promise.all([cluster.close(), queue?.close()]);
      await attempts.settled();
    },
  };
}

/** The Job controller's last refusal to create the pod. */
function podlessReason(events: readonly { reason?: string | null | undefined; message?: string | null | undefined }[]): string | null {
  return events.findLast((event) => event.reason === 'FailedCreate')?.message ?? null;
}

const tailCharacters = 16 * 1024;
const maxEvents = 10;

/**
 * The last output of an attempt's container. Where there is no log (it never started, its node does not answer), the part
 * that the pod's status kept, and what Kubernetes itself reported. Read once, never followed: the agent uploads its own.
 */
async function containerLog(api: ClusterApi, pod: Pod | undefined, job: Job | null, signal: AbortSignal): Promise<string> {
  const status = pod?.status?.containerStatuses?.find((candidate) => candidate.name === agentContainer);
  if (pod && (status?.state?.running || status?.state?.terminated)) {
    const log = await orNothing(api.podLog(pod.metadata.name, agentContainer, signal));
    if (log !== null && log !== '') return log.slice(-tailCharacters);
    if (status.state.terminated?.message) return status.state.terminated.message;
  }
  const states = [...(pod?.status?.initContainerStatuses ?? []), ...(pod?.status?.containerStatuses ?? [])].map(({ name, state }) => {
    const why = state?.waiting ?? state?.terminated;
    return why ? `container ${name}: ${[why.reason, why.message].filter(Boolean).join(': ')}` : '';
  });
  const events = (
    await Promise.all([job, pod].map((object) => (object ? orNothing(api.listEvents(object.metadata.uid, signal)) : null)))
  ).flatMap((list) => list ?? []);
  return [pod?.status?.message ?? '', ...states, ...events.toSorted(byTime).slice(-maxEvents).map(line)]
    .filter((text) => text !== '')
    .join('\n');
}

const timeOf = (event: ClusterEvent): number => event.lastTimestamp ?? event.eventTime ?? 0;
const byTime = (a: ClusterEvent, b: ClusterEvent): number => timeOf(a) - timeOf(b);
const line = (event: ClusterEvent): string => `${event.type === 'Warning' ? 'warning: ' : ''}${event.reason ?? ''}: ${event.message ?? ''}`;

/** A log that cannot be read is left out: it is for people, and an attempt ends without it too. */
async function orNothing<T>(reading: Promise<T>): Promise<T | null> {
  return reading.catch((error: unknown) => {
    if (isCairnError(error)) return null;
    throw error;
  });
}

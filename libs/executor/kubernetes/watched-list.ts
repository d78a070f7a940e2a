import { backoff, deadline, type Logger, pause, sleep, untilAborted } from '@cairn/runtime';
import type { Watch } from '@kubernetes/client-node';
import { z } from 'zod';
import { type ClusterApi, type Listed, statusOf } from './cluster-api.ts';
import { type Job, jobObject, type Node, nodeObject, type Pod, podObject } from './cluster-objects.ts';
import type { KubernetesPoolSettings } from './pool-settings.ts';

type WatchedObject = { metadata: { uid: string; name: string } };

export type WatchedListOptions<T extends WatchedObject> = {
  /** For logs: `Pods of pool a100`. */
  name: string;
  watch: Pick<Watch, 'watch'>;
  path: string;
  /** labelSelector, fieldSelector. */
  query: Readonly<Record<string, string>>;
  /** Lists the objects that the watch then follows. */
  list(signal: AbortSignal): Promise<Listed<T>>;
  /** The schema of an object from the watch. */
  parse(object: unknown): T;
  /** Called for every change, `gone` with the object's last state. */
  onChange?(object: T, gone: boolean): void;
  log: Logger;
  /** A watch may lose changes silently: everything is listed again this often. */
  relistMs?: number;
  retry?: { baseMs: number; maxMs: number };
};

export type WatchedList<T> = {
  items(): T[];
  /** True while changes arrive. */
  isCurrent(): boolean;
  /** True when the account may not read these, or the cluster does not have this type. */
  isDenied(): boolean;
  /** Waits until all objects have been listed once, or the list was refused. */
  answered(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
};

const listLimitMs = 30_000;
/** Granting rights and installing types is done by people, so it takes time. */
const deniedPauseMs = 60_000;
/** A watch that repeatedly ends sooner than this is an error, not the server's habit. */
const shortLifeMs = 1_000;
/** Between two watches, as after every half minute without an event, the list counts as current for this long. */
const reopenMs = 3_000;

const watchEvent = z.object({
  type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']),
  object: z.looseObject({ metadata: z.looseObject({ resourceVersion: z.string().optional() }).optional(), code: z.number().optional() }),
});

/**
 * The objects of one kind as they are now: lists them and follows their changes until it is closed. Replaces the
 * client's informer, which stops after an error, and which starts twice when restarted: here one loop lists, watches, and
 * starts over whenever the watch ends, with one growing pause after failures.
 */
export function watchedList<T extends WatchedObject>(options: WatchedListOptions<T>): WatchedList<T> {
  const { log, name, relistMs = 300_000, retry = { baseMs: 500, maxMs: 10_000 } } = options;
  const closing = new AbortController();
  const { signal } = closing;
  const objects = new Map<string, T>();
  const answered = Promise.withResolvers<void>();
  let resourceVersion: string | null = null;
  let listedAt = 0;
  let isOpen = false;
  let isDenied = false;
  let currentUntil = 0;

  function change(object: T, gone: boolean): void {
    if (gone) objects.delete(object.metadata.uid);
    else objects.set(object.metadata.uid, object);
    try {
      options.onChange?.(object, gone);
    } catch (error) {
      log.error({ err: error }, `${name}: a listener of a change failed`);
    }
  }

  async function relist(): Promise<void> {
    const answer = await options.list(deadline(signal, listLimitMs));
    const left = new Set(answer.items.map((object) => object.metadata.uid));
    for (const object of [...objects.values()]) if (!left.has(object.metadata.uid)) change(object, true);
    for (const object of answer.items) change(object, false);
    resourceVersion = answer.resourceVersion;
    listedAt = Date.now();
    isDenied = false;
    answered.resolve();
  }

  /** Watches until the watch ends or everything must be listed again. Rejects with the error that broke it. */
  async function follow(): Promise<void> {
    const ended = Promise.withResolvers<void>();
    let failure: Error | null = null;
    const onEvent = (type: string, object: unknown) => {
      try {
        const event = watchEvent.parse({ type, object });
        if (event.type === 'ERROR') {
          // 410: the server no longer knows our position.
          failure = Object.assign(new Error(`the watch was refused with ${event.object.code}`), { statusCode: event.object.code });
          return;
        }
        resourceVersion = event.object.metadata?.resourceVersion ?? resourceVersion;
        if (event.type !== 'BOOKMARK') change(options.parse(object), event.type === 'DELETED');
      } catch (error) {
        log.error({ err: error }, `${name}: a change could not be parsed`);
      }
    };
    let over = false;
    const onEnd = (error: unknown) => {
      over = true;
      if (isOpen) currentUntil = Date.now() + reopenMs;
      isOpen = false;
      if (failure ?? isFault(error)) ended.reject(failure ?? error);
      else ended.resolve();
    };
    const query = { ...options.query, resourceVersion: resourceVersion ?? '', allowWatchBookmarks: true };
    const controller = await options.watch.watch(options.path, query, onEvent, onEnd);
    // It also calls this when it could not connect, after it has reported the end.
    isOpen = !over;
    const abort = () => controller.abort();
    const timer = setTimeout(abort, Math.max(0, listedAt + relistMs - Date.now()));
    timer.unref();
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    try {
      await ended.promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }

  async function run(): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      const began = Date.now();
      try {
        if (resourceVersion === null || Date.now() - listedAt >= relistMs) await relist();
        const opened = Date.now();
        await follow();
        if (Date.now() - opened >= shortLifeMs) failures = 0;
        else await sleep(backoff({ attempt: failures++, ...retry }), signal);
      } catch (error) {
        if (signal.aborted) return;
        resourceVersion = null;
        const status = statusOf(error);
        if (status === 403 || status === 404) {
          if (!isDenied) log.warn({ err: error }, `${name} ${status === 403 ? 'may not be read' : 'are not known to the cluster'}`);
          isDenied = true;
          answered.resolve();
          await pause(deniedPauseMs, signal);
          continue;
        }
        if (Date.now() - began > retry.maxMs) failures = 0;
        // One line at the start of an outage, and then increasingly rarely.
        if (Number.isInteger(Math.log2(failures + 1)) && status !== 410) {
          log.warn({ err: error, failures: failures + 1 }, `${name} cannot be watched`);
        }
        await pause(backoff({ attempt: failures++, ...retry }), signal);
      }
    }
  }

  // A list that nobody waits for may never arrive.
  answered.promise.catch(() => undefined);
  const running = run().catch((error: unknown) => {
    if (!signal.aborted) log.error({ err: error }, `${name}: watching ended`);
  });

  return {
    items: () => [...objects.values()],
    isCurrent: () => listedAt > 0 && (isOpen || Date.now() < currentUntil),
    isDenied: () => isDenied,
    answered: (outer) => untilAborted(answered.promise, outer),
    async close() {
      closing.abort();
      answered.reject(new Error(`${name}: closed`));
      await running;
    },
  };
}

/** Ends of the watch that are not errors: by us, and after half a minute without an event. */
function isFault(error: unknown): boolean {
  if (error === null || error === undefined) return false;
  return !(error instanceof Error) || (error.name !== 'AbortError' && error.name !== 'TimeoutError');
}

type ClusterWatchOptions = {
  pool: string;
  settings: KubernetesPoolSettings;
  api: ClusterApi;
  watch: Pick<Watch, 'watch'>;
  selector: string;
  onChange(object: Job | Pod, gone: boolean): void;
  log: Logger;
};

/** What one pool needs to follow in the cluster: its Jobs and pods, the nodes, and for admission every pod that has a node. */
type ClusterWatch = {
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

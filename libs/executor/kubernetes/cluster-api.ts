import { CairnError } from '@cairn/contract';
import { deadline } from '@cairn/runtime';
import {
  ApiException,
  BatchV1Api,
  type ConfigurationOptions,
  CoreV1Api,
  CustomObjectsApi,
  type KubeConfig,
  Observable,
  PatchStrategy,
  type V1Job,
  type V1Secret,
} from '@kubernetes/client-node';
import { z } from 'zod';
import { ownerReference } from '../attempt-containers.ts';
import { eventObject, jobObject, nodeObject, pendingWorkloads, podObject, secretMetadata, workloadObject } from './cluster-objects.ts';

const requestLimitMs = 15_000;
/** The author of a field, for Kubernetes' own bookkeeping. */
const fieldManager = 'cairn';
const kueue = { group: 'kueue.x-k8s.io', version: 'v1beta2' };
const metadataOnly = 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io';

export type ClusterApi = ReturnType<typeof clusterApi>;

/** The calls that the executor makes in one namespace, each with a time limit. Failures are CairnErrors. */
export function clusterApi(config: KubeConfig, namespace: string) {
  const core = config.makeApiClient(CoreV1Api);
  const batch = config.makeApiClient(BatchV1Api);
  const custom = config.makeApiClient(CustomObjectsApi);

  return {
    /** Creates the Secret, or updates the existing one. */
    applySecret: (secret: V1Secret, signal: AbortSignal) =>
      call(
        `Secret ${secret.metadata?.name}`,
        signal,
        async (options) => {
          const name = secret.metadata?.name ?? '';
          await core.patchNamespacedSecret({ name, namespace, body: secret, fieldManager, force: true }, options);
        },
        { 'Content-Type': PatchStrategy.ServerSideApply },
      ),

    /** The Secret is deleted together with the Job. */
    giveSecretTo: (name: string, jobUid: string, signal: AbortSignal) =>
      call(
        `Secret ${name}`,
        signal,
        async (options) => {
          const body = { metadata: { ownerReferences: [ownerReference(name, jobUid)] } };
          await core.patchNamespacedSecret({ name, namespace, body, fieldManager }, options);
        },
        { 'Content-Type': PatchStrategy.MergePatch },
      ),

    /** Names and labels of Secrets; their content never leaves the API server. */
    listSecrets: (labelSelector: string, signal: AbortSignal) =>
      call(
        'Secrets',
        signal,
        async (options) => {
          const { items } = await core.listNamespacedSecret({ namespace, labelSelector }, options);
          return z.array(secretMetadata).parse(items ?? []);
        },
        { Accept: metadataOnly },
      ),

    deleteSecret: (name: string, uid: string | null, signal: AbortSignal) =>
      gone(() =>
        call(`Secret ${name}`, signal, async (options) => {
          await core.deleteNamespacedSecret({ name, namespace, body: uid === null ? {} : { preconditions: { uid } } }, options);
        }),
      ),

    deleteSecrets: (labelSelector: string, signal: AbortSignal) =>
      call('Secrets', signal, async (options) => {
        await core.deleteCollectionNamespacedSecret({ namespace, labelSelector }, options);
      }),

    /** Null when a Job of this name exists. */
    createJob: async (job: V1Job, signal: AbortSignal) => {
      try {
        return await call(`Job ${job.metadata?.name}`, signal, async (options) =>
          jobObject.parse(await batch.createNamespacedJob({ namespace, body: job }, options)),
        );
      } catch (error) {
        if (statusOf(error) === 409) return null;
        throw error;
      }
    },

    readJob: (name: string, signal: AbortSignal) =>
      orNull(() =>
        call(`Job ${name}`, signal, async (options) => jobObject.parse(await batch.readNamespacedJob({ name, namespace }, options))),
      ),

    listJobs: (labelSelector: string, signal: AbortSignal) =>
      call('Jobs', signal, async (options) => listed(jobObject, await batch.listNamespacedJob({ namespace, labelSelector }, options))),

    listPods: (labelSelector: string, signal: AbortSignal) =>
      call('Pods', signal, async (options) => listed(podObject, await core.listNamespacedPod({ namespace, labelSelector }, options))),

    /** Of all namespaces. */
    listAllPods: (fieldSelector: string, signal: AbortSignal) =>
      call('Pods', signal, async (options) => listed(podObject, await core.listPodForAllNamespaces({ fieldSelector }, options))),

    listNodes: (signal: AbortSignal) => call('Nodes', signal, async (options) => listed(nodeObject, await core.listNode({}, options))),

    /** In the foreground: the Job exists until its pods are gone. Otherwise a Job deleted by the API leaves them behind. */
    deleteJob: (name: string, uid: string, signal: AbortSignal) =>
      gone(() =>
        call(`Job ${name}`, signal, async (options) => {
          const body = { propagationPolicy: 'Foreground', preconditions: { uid } };
          await batch.deleteNamespacedJob({ name, namespace, body }, options);
        }),
      ),

    /** At least a second: with 0 the pod would be removed from the API while it runs. */
    deletePod: (name: string, uid: string, graceSeconds: number, signal: AbortSignal) =>
      gone(() =>
        call(`Pod ${name}`, signal, async (options) => {
          const body = { gracePeriodSeconds: Math.max(1, Math.floor(graceSeconds)), preconditions: { uid } };
          await core.deleteNamespacedPod({ name, namespace, body }, options);
        }),
      ),

    /** The last lines that a container printed; null when no log is available. */
    podLog: (name: string, container: string, signal: AbortSignal) =>
      call(`Log of pod ${name}`, signal, (options) =>
        core.readNamespacedPodLog({ name, namespace, container, tailLines: 200, limitBytes: 1 << 20 }, options),
      ),

    listEvents: (involvedUid: string, signal: AbortSignal) =>
      call('Events', signal, async (options) => {
        const { items } = await core.listNamespacedEvent({ namespace, fieldSelector: `involvedObject.uid=${involvedUid}` }, options);
        return z.array(eventObject).parse(items ?? []);
      }),

    /** Kueue's objects in the namespace. */
    listWorkloads: (labelSelector: string, signal: AbortSignal) =>
      call('Workloads', signal, async (options) =>
        listed(
          workloadObject,
          await custom.listNamespacedCustomObject({ ...kueue, namespace, plural: 'workloads', labelSelector }, options),
        ),
      ),

    readLocalQueue: (name: string, signal: AbortSignal) =>
      call(`LocalQueue ${name}`, signal, async (options) => {
        await custom.getNamespacedCustomObject({ ...kueue, namespace, plural: 'localqueues', name }, options);
      }),

    /** Positions of Workloads in a LocalQueue; the first thousand. */
    pendingWorkloads: (queue: string, signal: AbortSignal) =>
      call(
        `places in LocalQueue ${queue}`,
        signal,
        async (options) => {
          const place = { ...kueue, group: 'visibility.kueue.x-k8s.io', namespace, plural: 'localqueues', name: queue };
          return pendingWorkloads.parse(await custom.getNamespacedCustomObject(place, options));
        },
        {},
        // The client supports no subresource of a custom object except status and scale.
        (url) => `${url}/pendingworkloads`,
      ),
  };
}

export type Listed<T> = {
  items: T[];
  /** Where a watch continues. */
  resourceVersion: string;
};

/** The API server may return null for an empty list. */
type ListAnswer = { items: unknown[] | null; metadata?: { resourceVersion?: string } };

function listed<S extends z.ZodType>(schema: S, { items, metadata }: ListAnswer): Listed<z.infer<S>> {
  return { items: (items ?? []).map((item) => schema.parse(item)), resourceVersion: metadata?.resourceVersion ?? '' };
}

async function call<T>(
  what: string,
  signal: AbortSignal,
  work: (options: ConfigurationOptions) => Promise<T>,
  headers: Readonly<Record<string, string>> = {},
  address: (url: string) => string = (url) => url,
): Promise<T> {
  try {
    return await work(withinLimit(signal, headers, address));
  } catch (error) {
    signal.throwIfAborted();
    throw asCairnError(error, what);
  }
}

/** The generated client accepts a signal only from a middleware. */
function withinLimit(
  signal: AbortSignal,
  headers: Readonly<Record<string, string>>,
  address: (url: string) => string,
): ConfigurationOptions {
  return {
    middlewareMergeStrategy: 'append',
    middleware: [
      {
        pre(request) {
          request.setSignal(deadline(signal, requestLimitMs));
          request.setUrl(address(request.getUrl()));
          for (const [name, value] of Object.entries(headers)) request.setHeaderParam(name, value);
          return new Observable(Promise.resolve(request));
        },
        post: (response) => new Observable(Promise.resolve(response)),
      },
    ],
  };
}

const statusBody = z.object({ message: z.string(), reason: z.string().nullish() });

/** The error for an answer of the API server, by its code; anything else is a server that cannot be reached. */
export function asCairnError(error: unknown, what: string): CairnError {
  if (error instanceof CairnError) return error;
  const status = statusOf(error);
  if (!(error instanceof ApiException) || status === null) {
    const why = error instanceof Error ? rootMessage(error) : String(error);
    return new CairnError('unavailable', `The Kubernetes API cannot be reached (${what}): ${why}`, { cause: error });
  }
  const message = `The Kubernetes API answered ${status} (${what}): ${messageOf(error.body)}`;
  const options = { cause: error, details: { status } };
  if (status === 403 && /exceeded quota/i.test(message)) return new CairnError('quota_exceeded', message, options);
  if (status === 404 || status === 409) return new CairnError(status === 404 ? 'not_found' : 'wrong_state', message, options);
  const mayPass = status === 408 || status === 429 || status >= 500;
  return new CairnError(mayPass ? 'unavailable' : 'invalid_configuration', message, options);
}

/** The HTTP status of an error, of the client or of ours. */
export function statusOf(error: unknown): number | null {
  if (error instanceof ApiException) return error.code;
  if (error instanceof CairnError && typeof error.details.status === 'number') return error.details.status;
  // Thrown by the client's watch.
  if (error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number') return error.statusCode;
  return null;
}

function messageOf(body: unknown): string {
  if (typeof body !== 'string') return statusBody.safeParse(body).data?.message ?? '';
  try {
    return statusBody.safeParse(JSON.parse(body)).data?.message ?? body;
  } catch {
    return body;
  }
}

function rootMessage(error: Error): string {
  return error.cause instanceof Error ? rootMessage(error.cause) : error.message;
}

/** Deleting an object that is gone, or that another of the same name has replaced, succeeds. */
async function gone(work: () => Promise<void>): Promise<void> {
  await work().catch((error: unknown) => {
    const status = statusOf(error);
    if (status !== 404 && status !== 409) throw error;
  });
}

async function orNull<T>(work: () => Promise<T>): Promise<T | null> {
  return work().catch((error: unknown) => {
    if (statusOf(error) === 404) return null;
    throw error;
  });
}

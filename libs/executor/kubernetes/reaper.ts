import { isCairnError } from '@cairn/contract';
import { type Logger, sleep } from '@cairn/runtime';
import type { KubeConfig } from '@kubernetes/client-node';
import { instanceLabels, selectorOf } from '../attempt-containers.ts';
import { type ClusterApi, clusterApi } from './cluster-api.ts';
import type { Job, Pod, SecretMetadata } from './cluster-objects.ts';
import { isTerminal } from './pod-failure.ts';

/** A moment passes between a Secret and its Job, and between a Job's deletion and its pod's. */
const orphanAfterMs = 60_000;

export type Orphans = {
  /** Secrets that no Job uses: their controller was killed before it created the Job. */
  secrets: SecretMetadata[];
  /** Secrets whose Job exists but does not own them yet: their controller was killed one step later. */
  unowned: { secret: SecretMetadata; job: Job }[];
  /** Pods whose Job was deleted without them. */
  pods: Pod[];
};

/** Objects that nothing else will clean up. Pure: `now` is in milliseconds since the epoch. */
export function findOrphans(jobs: readonly Job[], pods: readonly Pod[], secrets: readonly SecretMetadata[], now: number): Orphans {
  const byName = new Map(jobs.map((job) => [job.metadata.name, job]));
  const uids = new Set(jobs.map((job) => job.metadata.uid));
  const isOld = (object: Pod | SecretMetadata) => now - (object.metadata.creationTimestamp ?? now) > orphanAfterMs;
  const withoutOwner = secrets.filter((secret) => isOld(secret) && !secret.metadata.ownerReferences?.length);
  return {
    secrets: withoutOwner.filter((secret) => !byName.has(secret.metadata.name)),
    unowned: withoutOwner.flatMap((secret) => {
      const job = byName.get(secret.metadata.name);
      return job ? [{ secret, job }] : [];
    }),
    pods: pods.filter(
      (pod) =>
        isOld(pod) &&
        !pod.metadata.deletionTimestamp &&
        !isTerminal(pod) &&
        !pod.metadata.ownerReferences?.some((owner) => uids.has(owner.uid)),
    ),
  };
}

/** Removes orphans, each after a second check in the cluster itself, because the watch may be behind. */
export async function reap(api: ClusterApi, orphans: Orphans, graceSeconds: number, log: Logger, signal: AbortSignal): Promise<void> {
  for (const { metadata } of orphans.secrets) {
    if ((await api.readJob(metadata.name, signal)) !== null) continue;
    log.warn({ secret: metadata.name }, 'deleting a Secret without a Job');
    await api.deleteSecret(metadata.name, metadata.uid, signal);
  }
  for (const { secret, job } of orphans.unowned) await api.giveSecretTo(secret.metadata.name, job.metadata.uid, signal);
  for (const { metadata } of orphans.pods) {
    const owner = metadata.ownerReferences?.find((reference) => reference.kind === 'Job');
    if (owner && (await api.readJob(owner.name, signal))?.metadata.uid === owner.uid) continue;
    log.warn({ pod: metadata.name }, 'deleting a pod without a Job');
    await api.deletePod(metadata.name, metadata.uid, graceSeconds, signal);
  }
}

/** Names of the pool's Secrets; none when the account may not list them, which only prevents the cleanup. */
export async function secretsOf(api: ClusterApi, selector: string, signal: AbortSignal): Promise<SecretMetadata[]> {
  try {
    return await api.listSecrets(selector, signal);
  } catch (error) {
    if (isCairnError(error, 'invalid_configuration')) return [];
    throw error;
  }
}

const pollMs = 500;

export type Removal = {
  /** The installation of the attempts. */
  instance: string;
  namespace: string;
  kubeConfig: KubeConfig;
  signal: AbortSignal;
};

/**
 * Removes what a deleted installation created for its attempts in a namespace: Jobs with their pods, each pod with its own
 * grace period, and Secrets. Returns the names of the Jobs once all are gone. Needs the rights to list and delete Jobs, and to delete
 * collections of Secrets.
 */
export async function removeAttempts({ instance, namespace, kubeConfig, signal }: Removal): Promise<string[]> {
  const api = clusterApi(kubeConfig, namespace);
  const selector = selectorOf(instanceLabels(instance));
  const removed = new Set<string>();
  for (;;) {
    const { items } = await api.listJobs(selector, signal);
    if (items.length === 0) break;
    for (const { metadata } of items) {
      removed.add(metadata.name);
      if (!metadata.deletionTimestamp) await api.deleteJob(metadata.name, metadata.uid, signal);
    }
    await sleep(pollMs, signal);
  }
  await api.deleteSecrets(selector, signal);
  return [...removed];
}

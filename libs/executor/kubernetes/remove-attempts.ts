import { sleep } from '@cairn/runtime';
import type { KubeConfig } from '@kubernetes/client-node';
import { instanceLabels, selectorOf } from '../attempt-labels.ts';
import { clusterApi } from './cluster-api.ts';

const pollMs = 500;

export type Removal = {
  /** The installation whose attempts they are. */
  instance: string;
  namespace: string;
  kubeConfig: KubeConfig;
  signal: AbortSignal;
};

/**
 * Removes what an installation that is no more made for its attempts in a namespace: Jobs with their pods, each pod with its own
 * grace, and Secrets. Ends when they are gone, with the names of the Jobs. Needs the rights to list and delete Jobs, and to delete
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

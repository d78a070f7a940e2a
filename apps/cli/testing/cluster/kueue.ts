import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { helmWithin, type Manifest, parseManifests, waitFor } from '@cairn/testing';
import { ApiException, type KubernetesObject, KubernetesObjectApi, PatchStrategy } from '@kubernetes/client-node';
import { core, kubeConfig } from './cluster-service.ts';

const objects = KubernetesObjectApi.makeApiClient(kubeConfig);
const release = 'kueue';
const namespace = 'kueue-system';
const limitSeconds = 120;
const patience = { timeoutMs: 60_000, intervalMs: 200 };
/** The queues that docs/operations.md gives to a platform engineer. */
const exampleQueues = join(import.meta.dirname, '../../../../k8s/examples/kueue-queues.yaml');

export type Kueue = {
  /** Creates an object; closing removes it. */
  make(object: KubernetesObject): Promise<void>;
  /** Merges it into the existing one. */
  change(object: KubernetesObject & { spec: object }): Promise<void>;
  close(): Promise<void>;
};

/**
 * Kueue by its own chart (`CAIRN_TEST_KUEUE_CHART`, with the image of `CAIRN_TEST_KUEUE_IMAGE` instead of the chart's).
 * Its webhooks intercept every Job of the cluster, so it is removed when the test that needs it is over.
 */
export async function installKueue(): Promise<Kueue> {
  const made: KubernetesObject[] = [];
  await helm('install', release, process.env.CAIRN_TEST_KUEUE_CHART ?? '', '--create-namespace', '--atomic', ...imageOptions());

  async function remove(object: KubernetesObject): Promise<void> {
    await objects.delete(object).catch(unlessGone);
    await waitFor(() => isGone(object), { ...patience, message: `the end of ${object.kind} ${object.metadata?.name}` });
  }

  return {
    async make(object) {
      await objects.create(object);
      made.unshift(object);
    },
    async change(object) {
      await objects.patch(object, undefined, undefined, undefined, undefined, PatchStrategy.MergePatch);
    },
    async close() {
      try {
        // Kueue itself removes its finalizers: its objects must be gone before Kueue is.
        const workloads = async () => (await objects.list('kueue.x-k8s.io/v1beta2', 'Workload')).items;
        await waitFor(async () => (await workloads()).length === 0, { ...patience, message: 'the end of all Workloads' });
        for (const object of made) await remove(object);
      } finally {
        await helm('uninstall', release);
        await core.deleteNamespace({ name: namespace });
      }
    },
  };
}

/** The objects of the example, for Jobs of this namespace, by their kinds. */
export async function exampleObjects(attempts: string): Promise<{ all: readonly Manifest[]; of(kind: string): Manifest }> {
  const all = parseManifests((await readFile(exampleQueues, 'utf8')).replaceAll('cairn-attempts', attempts));
  return {
    all,
    of(kind) {
      const found = all.find((object) => object.kind === kind);
      if (found === undefined) throw new Error(`${exampleQueues} has no ${kind}`);
      return found;
    },
  };
}

const helm = (command: string, ...args: string[]) =>
  helmWithin((limitSeconds + 30) * 1000, command, ...args, '--namespace', namespace, '--wait', '--timeout', `${limitSeconds}s`);

function imageOptions(): string[] {
  const image = process.env.CAIRN_TEST_KUEUE_IMAGE;
  const manager = 'controllerManager.manager';
  const options: Record<string, string> = { 'resources.requests.cpu': '10m', 'podSecurityContext.runAsUser': '65532' };
  if (image) {
    const tagAt = image.lastIndexOf(':');
    options['image.repository'] = image.slice(0, tagAt);
    options['image.tag'] = image.slice(tagAt + 1);
    options['image.pullPolicy'] = 'IfNotPresent';
  }
  return Object.entries(options).flatMap(([name, value]) => ['--set', `${manager}.${name}=${value}`]);
}

async function isGone(object: KubernetesObject): Promise<boolean> {
  try {
    await objects.read({ ...object, metadata: { name: object.metadata?.name ?? '', namespace: object.metadata?.namespace ?? '' } });
    return false;
  } catch (error) {
    unlessGone(error);
    return true;
  }
}

function unlessGone(error: unknown): void {
  if (!(error instanceof ApiException) || error.code !== 404) throw error;
}

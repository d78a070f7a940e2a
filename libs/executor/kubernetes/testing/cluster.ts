import { randomBytes } from 'node:crypto';
import { createLogger } from '@cairn/runtime';
import { BatchV1Api, CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import type { z } from 'zod';
import type { PoolIdentity } from '../../attempt-containers.ts';
import type { Executor } from '../../executor.ts';
import { kubernetesExecutor } from '../kubernetes-executor.ts';
import { type KubernetesPoolSettings, kubernetesPoolSettings } from '../pool-settings.ts';

/** An image with a shell that the nodes have or can pull. */
const image = process.env.CAIRN_TEST_IMAGE ?? 'docker.io/library/busybox:1.37';

export const kubeConfig = new KubeConfig();
kubeConfig.loadFromDefault();
export const core = kubeConfig.makeApiClient(CoreV1Api);
export const batch = kubeConfig.makeApiClient(BatchV1Api);

type PoolChange = Partial<z.input<typeof kubernetesPoolSettings>> & {
  /** The script of the agent's shell. */
  script?: string;
};

export type TestNamespace = {
  name: string;
  /** An executor, by default of the pool `test` of the installation `test`, whose pods are small and need no GPU. */
  open(change?: PoolChange, owner?: Partial<PoolIdentity>): Executor;
  close(): Promise<void>;
};

/** A namespace for one test; closing removes it with everything in it. */
export async function testNamespace(podSecurity: 'restricted' | 'privileged' = 'restricted'): Promise<TestNamespace> {
  const name = `cairn-test-${randomBytes(4).toString('hex')}`;
  await core.createNamespace({ body: { metadata: { name, labels: { 'pod-security.kubernetes.io/enforce': podSecurity } } } });
  const opened: Executor[] = [];
  const log = createLogger({ name: 'executor', level: 'error' });
  return {
    name,
    open(change, owner) {
      const executor = kubernetesExecutor({ instance: 'test', pool: 'test', ...owner, settings: poolOf(name, change), kubeConfig, log });
      opened.push(executor);
      return executor;
    },
    async close() {
      for (const executor of opened) await executor.close();
      await core.deleteNamespace({ name, body: { propagationPolicy: 'Background' } });
      const { items } = await core.listNamespacedPod({ namespace: name });
      for (const pod of items)
        await core.deleteNamespacedPod({ name: pod.metadata?.name ?? '', namespace: name, gracePeriodSeconds: 0 }).catch(() => undefined);
    },
  };
}

export function poolOf(namespace: string, { script = 'sleep 600', ...change }: PoolChange = {}): KubernetesPoolSettings {
  return kubernetesPoolSettings.parse({
    namespace,
    image,
    allowTags: true,
    command: ['sh', '-c', script],
    gpusPerPod: 0,
    cpu: '10m',
    memory: '16Mi',
    sharedMemory: '1Mi',
    graceSeconds: 20,
    ...change,
  });
}

// CI runs this when apps/cli/testing/cluster, libs/executor/kubernetes, libs/executor/testing, apps/controller, k8s/examples change, else one time in three; it takes about 120 s.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { agentExit } from '@cairn/contract';
import { helmWithin, type Manifest, parseManifests, waitFor } from '@cairn/testing';
import { ApiException, type KubernetesObject, KubernetesObjectApi, PatchStrategy, type V1Job } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  batch,
  type ClusterWorld,
  core,
  eventually,
  gpuResource,
  kubeConfig,
  type OpenService,
  openWorld,
  type PoolSettings,
  shellImage,
  smallPods,
} from './cluster-service.ts';

// Kueue itself, with the queues of the example: 32 GPUs in their quota, on a node of 8.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 240_000 });

const script = `trap 'exit ${agentExit.preempted}' TERM; while true; do sleep 0.1; done`;
const gpus = 8;
const urgent = {
  apiVersion: 'kueue.x-k8s.io/v1beta2',
  kind: 'WorkloadPriorityClass',
  metadata: { name: 'cairn-test-urgent' },
  value: 2000,
};
let world: ClusterWorld;
let kueue: Kueue;
let settings: PoolSettings;
let one: OpenService;
let queues: Awaited<ReturnType<typeof exampleObjects>>;
beforeAll(async () => {
  kueue = await installKueue();
  world = await openWorld();
  queues = await exampleObjects(world.namespace);
  await kueue.make(urgent);
  settings = {
    ...smallPods,
    gpusPerPod: gpus,
    image: shellImage,
    command: ['sh', '-c', script],
    // As in k8s/examples/kueue-values.yaml.
    kueue: { queueName: 'cairn', priorityClass: 'cairn-training' },
    podAnnotations: { 'kueue.x-k8s.io/podset-required-topology': 'kubernetes.io/hostname' },
  };
  one = await world.open(settings, { slots: 8 * gpus });
});
afterAll(async () => {
  try {
    await world?.close();
  } finally {
    await kueue?.close();
  }
});

const waits = (id: string) => eventually(async () => (await one.step(id, '384')).waiting?.sentence);
/** Names of attempts whose pods run. */
const running = () =>
  eventually(async () => {
    const pods = (await world.pods()).filter(({ status }) => status?.phase === 'Running');
    return pods.map(({ metadata }) => metadata?.annotations?.['cairn.dev/name'] ?? 'of others');
  });
const attempts = (id: string) => eventually(async () => (await one.client.listAttempts(id, '384')).items);

/** A Job of another team in the same queue, ahead of all of Cairn's. */
async function urgentJob(): Promise<() => Promise<void>> {
  const { namespace } = world;
  const container = {
    name: 'other',
    image: shellImage,
    command: ['sleep', '3600'],
    resources: { limits: { [gpuResource]: String(gpus) } },
  };
  const body: V1Job = {
    metadata: {
      generateName: 'urgent-',
      labels: { 'kueue.x-k8s.io/queue-name': 'cairn', 'kueue.x-k8s.io/priority-class': urgent.metadata.name },
    },
    spec: { suspend: true, template: { spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers: [container] } } },
  };
  const name = (await batch.createNamespacedJob({ namespace, body })).metadata?.name ?? '';
  return async () => void (await batch.deleteNamespacedJob({ namespace, name, propagationPolicy: 'Foreground' }));
}

test("a Job in a queue of Kueue shows Kueue's reason and its place, the same in API and CLI; evicted for another, its next attempt waits again", async () => {
  const priorityClass = queues.of('WorkloadPriorityClass');
  await kueue.make(priorityClass);
  const first = await one.submit();
  await waits(first).toMatch(/^it is queued in the cluster: .*: LocalQueue cairn doesn't exist \(since .* UTC\)$/);

  for (const object of queues.all) if (object !== priorityClass) await kueue.make(object);
  await running().toEqual([expect.stringMatching(/\/384\/1$/)]);

  const second = await one.submit({ set: { 'stages.384.seed': 7 } });
  await waits(second).toMatch(
    /: place 1 in LocalQueue cairn of namespace \S+, 1 in its ClusterQueue; .*topology "machines".*gpu": 1 \(since/,
  );
  expect(await one.show(second)).toContain((await one.step(second, '384')).waiting?.sentence);

  const end = await urgentJob();
  await attempts(first).toMatchObject([
    { ordinal: 1, failure: { cause: 'preemption', message: expect.stringContaining('Stopped: Preempted to accommodate a workload') } },
    { ordinal: 2, state: 'launching' },
  ]);
  await waits(first).toMatch(/: place 2 in LocalQueue cairn/);
  await end();
  await running().toEqual([`${(await one.run(second)).name}/384/1`]);
});

test('a stopped ClusterQueue is reported, and its Jobs continue when it is opened again', async () => {
  const { items } = await one.client.listRuns();
  const [id, name] = items.map((run) => [run.id, run.name] as const)[0] ?? ['', ''];
  const queue = queues.of('ClusterQueue');
  await running().toEqual([`${name}/384/1`]);
  await kueue.change({ ...queue, spec: { stopPolicy: 'HoldAndDrain' } });
  await attempts(id).toMatchObject([
    { ordinal: 1, failure: { cause: 'preemption' } },
    { ordinal: 2, state: 'launching' },
  ]);
  await waits(id).toMatch(/LocalQueue cairn of namespace .*; its queue does not accept it: ClusterQueue cairn is inactive \(since/);
  await kueue.change({ ...queue, spec: { stopPolicy: 'None' } });
  await running().toEqual([expect.stringMatching(/\/384\/2$/)]);
});

test("a Job whose place was taken back before its pod ran ends with Kueue's reason", async () => {
  for (const { id } of (await one.client.listRuns({})).items) await one.client.cancelRun(id);
  await eventually(world.pods).toEqual([]);
  const broken = await world.open(
    { ...settings, image: 'registry.invalid/none:1' },
    { variables: { CAIRN_INSTANCE: `${world.namespace}-b` } },
  );
  const id = await broken.submit();
  const sentence = () => eventually(async () => (await broken.step(id, '384')).waiting?.sentence);
  const failures = () => eventually(async () => (await broken.client.listAttempts(id, '384')).items.map(({ failure }) => failure));
  const evicted = (why: string) => ({ cause: 'preemption', message: expect.stringContaining(`Kueue evicted it: ${why}`) });
  await sentence().toMatch(/image/);

  const queue = queues.of('ClusterQueue');
  await kueue.change({ ...queue, spec: { stopPolicy: 'HoldAndDrain' } });
  await failures().toMatchObject([evicted('The ClusterQueue is stopped'), null]);
  await sentence().toMatch(/ClusterQueue cairn is inactive/);
  await kueue.change({ ...queue, spec: { stopPolicy: 'None' } });
  await sentence().toMatch(/image/);

  const end = await urgentJob();
  await failures().toMatchObject([{}, evicted('Preempted to accommodate a workload'), null]);
  await end();
});

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

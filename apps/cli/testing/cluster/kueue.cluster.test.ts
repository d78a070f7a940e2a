import { agentExit } from '@cairn/contract';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ApiProxy, startApiProxy } from './api-proxy.ts';
import { batch, type ClusterWorld, kubeConfig, type OpenService, openWorld, shellImage, smallPods } from './cluster-service.ts';
import { eventually } from './eventually.ts';
import { installKueueTypes, playKueue } from './kueue-types.ts';

// Kueue itself does not run here: its types are installed, and the test plays its controller and its visibility API.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 120_000 });

const script = `trap 'exit ${agentExit.preempted}' TERM; while true; do sleep 0.1; done`;
let world: ClusterWorld;
let proxy: ApiProxy;
let one: OpenService;
let removeTypes: () => Promise<void>;
let kueue: ReturnType<typeof playKueue>;
beforeAll(async () => {
  removeTypes = await installKueueTypes();
  world = await openWorld();
  kueue = playKueue(world.namespace);
  proxy = await startApiProxy(kubeConfig);
  const settings = { ...smallPods, image: shellImage, command: ['sh', '-c', script], kueue: { queueName: 'gpus' } };
  one = await world.open(settings, { kubeconfig: proxy.kubeconfig });
});
afterAll(async () => {
  await world.close();
  await proxy.close();
  await removeTypes();
});

const jobOf = async (name: string) => (await world.jobs()).find(({ metadata }) => metadata?.annotations?.['cairn.dev/name'] === name);
const suspend = async (name: string, isSuspended: boolean) =>
  batch.patchNamespacedJob({ namespace: world.namespace, name, body: [{ op: 'replace', path: '/spec/suspend', value: isSuspended }] });

test('a Job in a queue of Kueue waits in its words, with its place, the same in API and CLI, and an eviction costs no retry', async () => {
  const id = await one.submit();
  const { name } = await one.run(id);
  const waits = () => eventually(async () => (await one.step(id, '384')).waiting?.sentence);
  await waits().toMatch(/^it waits in the queue of the cluster: namespace \S+ has no LocalQueue gpus \(since .* UTC\)$/);

  const job = await jobOf(`${name}/384/1`);
  const jobName = job?.metadata?.name ?? '';
  const pending = (workload: string, position: number) => ({
    metadata: { name: workload },
    priority: 0,
    localQueueName: 'gpus',
    positionInLocalQueue: position,
    positionInClusterQueue: position + 3,
  });
  const visible = `/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/${world.namespace}/localqueues/gpus/pendingworkloads`;
  proxy.answer(visible, () => ({ items: [pending('another', 0), pending('ours', 1)] }));
  await kueue.makeQueue('gpus');
  await kueue.takeUp('ours', job?.metadata?.uid ?? '', 'gpus');
  const message = 'insufficient unused quota for nvidia.com/gpu in flavor gpu-8, 8 more needed';
  await kueue.tell('ours', { type: 'QuotaReserved', status: 'False', reason: 'WaitingForQuota', message });
  await waits().toMatch(
    /: place 2 in LocalQueue gpus of namespace \S+, 5 in its ClusterQueue; its quota is used up now: insufficient unused quota .* \(since/,
  );
  expect(await one.show(id)).toContain((await one.step(id, '384')).waiting?.sentence);

  await kueue.tell('ours', { type: 'QuotaReserved', status: 'True', reason: 'QuotaReserved', message: '' });
  await suspend(jobName, false);
  await eventually(async () => (await world.pods()).map(({ status }) => status?.phase)).toEqual(['Running']);
  await waits().toMatch(/^an attempt is being started on pool pods/);

  // Kueue takes the place back: it says so, and deletes the pod by suspending the Job.
  const evicted = 'Preempted to accommodate a workload of higher priority';
  await kueue.tell('ours', { type: 'Evicted', status: 'True', reason: 'Preempted', message: evicted });
  await suspend(jobName, true);
  await eventually(async () => (await one.client.listAttempts(id, '384')).items).toMatchObject([
    { ordinal: 1, failure: { cause: 'preemption' } },
    { ordinal: 2 },
  ]);
  await eventually(async () => (await jobOf(`${name}/384/2`))?.spec?.suspend).toBe(true);
});

test('a Job whose place was taken back before its pod ran ends in the words of Kueue', async () => {
  const id = await one.submit({ set: { 'stages.384.seed': 7 } });
  const { name } = await one.run(id);
  await eventually(async () => jobOf(`${name}/384/1`)).toBeDefined();
  await kueue.takeUp('other', (await jobOf(`${name}/384/1`))?.metadata?.uid ?? '', 'gpus');
  await kueue.tell('other', { type: 'Evicted', status: 'True', reason: 'Preempted', message: 'for another' });
  await eventually(async () => (await one.client.listAttempts(id, '384')).items[0]?.failure).toMatchObject({
    cause: 'preemption',
    message: expect.stringContaining('Kueue evicted it: for another'),
  });
});

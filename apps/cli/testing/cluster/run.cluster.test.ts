import type { RunView } from '@cairn/contract';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type ClusterWorld, core, eventually, gpuResource, type OpenService, openWorld, type PoolSettings } from './cluster-service.ts';

// The whole pipeline, with torchrun and ONNX Runtime in pods of 8 GPUs that the node only pretends to have.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 120_000 });

const settings: PoolSettings = {
  image: process.env.CAIRN_TEST_WORKER_IMAGE,
  allowTags: true,
  gpusPerPod: 8,
  gpuResource,
  cpu: '100m',
  memory: '2Gi',
  graceSeconds: 30,
  ...JSON.parse(process.env.CAIRN_TEST_WORKER_POOL ?? '{}'),
};

let world: ClusterWorld;
let one: OpenService;
beforeAll(async () => {
  world = await openWorld();
  const nodeMounts = [
    ...((settings.nodeMounts as object[] | undefined) ?? []),
    { name: 'dataset', hostPath: world.dataset, mountPath: world.dataset },
  ];
  // Without CUDA: extraction runs on the processor.
  const env = { CAIRN_GPUS: '0', ...(settings.env as object | undefined) };
  one = await world.open({ ...settings, nodeMounts, env });
});
afterAll(() => world.close());

const podOf = async (name: string) => (await world.pods()).find((pod) => pod.metadata?.annotations?.['cairn.dev/name'] === name);
const ended = async (id: string): Promise<RunView> => {
  await eventually(async () => (await one.run(id)).state, 500_000).toMatch(/succeeded|failed|cancelled/);
  return one.run(id);
};

test('a run passes through pods of 8 GPUs to its mAP and leaves nothing in the cluster; a pod deleted meanwhile costs one attempt', async () => {
  const id = await one.submit({ 'stages.384.checkpointEverySteps': 1 });
  const { name } = await one.run(id);
  // While the first stage trains: what it saved is there for the next attempt.
  await eventually(async () => (await one.client.listRunEvents(id, {})).items.map((event) => event.type), 240_000).toContain('checkpoint');
  const pod = await podOf(`${name}/384/1`);
  expect(pod?.spec?.containers[0]?.resources?.limits?.[gpuResource]).toBe('8');
  await core.deleteNamespacedPod({ name: pod?.metadata?.name ?? '', namespace: world.namespace, gracePeriodSeconds: 0 });

  const run = await ended(id);
  expect(run.stepViews.map((step) => [step.name, step.state])).toEqual(run.stepViews.map((step) => [step.name, 'succeeded']));
  expect(run.stepViews.find((step) => step.name === 'evaluate')?.scores.mapAt100).toBeGreaterThan(0);

  const attempts = (await one.client.listAttempts(id, '384')).items;
  expect(attempts).toMatchObject([
    { state: expect.stringMatching(/lost|preempted/), pool: 'pods' },
    { state: 'succeeded', pool: 'pods', resumedFrom: expect.anything() },
  ]);
  const others = ['384_finetune', '512_finetune', '512_all', 'export', 'extract_index', 'extract_query'];
  for (const step of others) {
    expect((await one.client.listAttempts(id, step)).items, step).toMatchObject([{ state: 'succeeded', pool: 'pods' }]);
  }
  await eventually(world.jobs).toEqual([]);
  await eventually(async () =>
    (await core.listNamespacedSecret({ namespace: world.namespace })).items.map((secret) => secret.metadata?.name),
  ).toEqual(['storage']);
});

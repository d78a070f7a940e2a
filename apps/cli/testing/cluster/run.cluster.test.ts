import { randomUUID } from 'node:crypto';
import { createInternalClient } from '@cairn/client';
import type { RunView } from '@cairn/contract';
import { attemptToken } from '@cairn/runtime';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  type ClusterWorld,
  core,
  gpuResource,
  type OpenService,
  openWorld,
  type PoolSettings,
  shellImage,
  smallPods,
} from './cluster-service.ts';
import { eventually } from './eventually.ts';

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

const longStage = { 'stages.384.epochs': 40 };
/** It saves a checkpoint when it is told to end, and at its end. */
const seldomSaved = { 'stages.384.checkpointEveryEpochs': 1000, 'stages.384.checkpointEveryMinutes': 0, 'stages.384.logEverySteps': 1 };
const home = 'home';
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
  one = await world.open({ ...settings, nodeMounts, env }, { home });
});
afterAll(() => world.close());

const podOf = async (name: string) => (await world.pods()).find((pod) => pod.metadata?.annotations?.['cairn.dev/name'] === name);
const ended = async (id: string): Promise<RunView> => {
  await eventually(async () => (await one.run(id)).state, 500_000).toMatch(/succeeded|failed|cancelled/);
  return one.run(id);
};

test('a run passes through pods of 8 GPUs to its mAP and leaves nothing in the cluster; a drain in a stage loses nothing of its training', async () => {
  const id = await one.submit({ set: { ...longStage, ...seldomSaved } });
  const { name } = await one.run(id);
  const lossPoints = async () => (await one.client.getMetrics(id, '384', { names: 'loss' })).series[0]?.steps.length ?? 0;
  await eventually(lossPoints, 240_000).toBeGreaterThan(3);
  expect((await one.client.listRunEvents(id, {})).items.map(({ type }) => type)).not.toContain('checkpoint');
  const pod = await podOf(`${name}/384/1`);
  expect(pod?.spec?.containers[0]?.resources?.limits?.[gpuResource]).toBe('8');
  const podName = pod?.metadata?.name ?? '';
  await core.createNamespacedPodEviction({ namespace: world.namespace, name: podName, body: { metadata: { name: podName } } });

  const run = await ended(id);
  expect(run.stepViews.map((step) => [step.name, step.state])).toEqual(run.stepViews.map((step) => [step.name, 'succeeded']));
  expect(run.stepViews.find((step) => step.name === 'evaluate')?.scores.mapAt100).toBeGreaterThan(0);

  const attempts = (await one.client.listAttempts(id, '384')).items;
  expect(attempts).toMatchObject([
    { state: 'preempted', pool: 'pods', failure: { cause: 'preemption' } },
    { state: 'succeeded', pool: 'pods', resumedFrom: { step: expect.any(Number) } },
  ]);
  const [drained, next] = attempts;
  expect(drained?.reachedStep).toBeGreaterThan(3);
  expect(next?.resumedFrom?.step).toBeGreaterThanOrEqual(drained?.reachedStep ?? Number.NaN);
  const others = ['384_finetune', '512_finetune', '512_all', 'export', 'extract_index', 'extract_query'];
  for (const step of others) {
    expect((await one.client.listAttempts(id, step)).items, step).toMatchObject([{ state: 'succeeded', pool: 'pods' }]);
  }
  await eventually(world.jobs).toEqual([]);
  await eventually(async () =>
    (await core.listNamespacedSecret({ namespace: world.namespace })).items.map((secret) => secret.metadata?.name),
  ).toEqual(['storage']);
});

test('a fleet gives way to a training step that waits for its GPUs, the pod with fewer shards first', async () => {
  await one.close();
  // Two pods of 4 GPUs in which nothing runs: this test speaks for their agents.
  const shells = { ...smallPods, image: shellImage, command: ['sleep', '600'], gpusPerPod: 4, gpuResource };
  one = await world.open(shells, { home });
  const extraction = await one.submit({ set: longStage, noReuse: ['extract_index'] });
  const fleet = async () => (await one.client.listAttempts(extraction, 'extract_index')).items;
  // Their agents cannot be there before their Jobs are.
  await eventually(async () => (await fleet()).map((attempt) => attempt.place)).toEqual([expect.any(String), expect.any(String)]);
  const [, younger] = await Promise.all((await fleet()).map(({ id }) => speakFor(id)));
  await younger?.claimShard({ holding: [] });

  const training = await one.submit({ set: { 'stages.384.seed': 77 } });
  await eventually(async () => (await one.step(training, '384')).state).toBe('active');
  const told = (await fleet()).map((attempt) => attempt.failure?.message ?? attempt.state).join('; ');
  expect(await fleet(), told).toMatchObject([{ state: 'preempted', failure: { cause: 'preemption' } }, { state: 'running' }]);
  const left = async () => (await world.pods()).map((pod) => pod.metadata?.annotations?.['cairn.dev/name'] ?? '').toSorted();
  const [a, b] = [(await one.run(extraction)).name, (await one.run(training)).name];
  await eventually(left).toEqual([`${a}/extract_index/2`, `${b}/384/1`].toSorted());
});

/** A client that acts for the agent of an attempt, and has said that it runs. */
async function speakFor(attemptId: string) {
  const { internalUrl, home: files } = one.service;
  const client = createInternalClient({
    urls: [internalUrl],
    attemptId,
    generation: 1,
    token: attemptToken(files.serverKey, attemptId, 1),
    signal: AbortSignal.timeout(120_000),
  });
  await client.start({ host: 'test', pid: 1, instance: randomUUID(), version: 'test' });
  return client;
}

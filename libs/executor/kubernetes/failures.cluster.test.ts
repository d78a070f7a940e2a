import { SchedulingV1Api } from '@kubernetes/client-node';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { aSpec, endsAtTerm, eventually, limit, observed } from '../testing/attempts.ts';
import { core, kubeConfig, type TestNamespace, testNamespace } from './testing/cluster.ts';

vi.setConfig({ testTimeout: 90_000 });

let space: TestNamespace;
beforeEach(async () => {
  space = await testNamespace();
});
afterEach(() => space.close());

/** GPUs of the one node that has most. */
async function gpusOfANode(): Promise<number> {
  const { items } = await core.listNode();
  return Math.max(...items.map((node) => Number(node.status?.allocatable?.['nvidia.com/gpu'] ?? 0)));
}

async function podName(): Promise<string> {
  return (await core.listNamespacedPod({ namespace: space.name })).items[0]?.metadata?.name ?? '';
}

test('an image that cannot be pulled is told, and the log tells why', async () => {
  const executor = space.open({ image: 'registry.invalid/none/such:1' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'pending', finding: { signal: 'image_pull' } });
  await eventually(() => executor.logs(spec.attemptId)).toMatch(/registry\.invalid\/none\/such[\s\S]*warning: Failed: /);
});

test('an image name that cannot be right is told, and the attempt can be forgotten', async () => {
  const executor = space.open({ image: 'UPPER CASE:1' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'pending', finding: { signal: 'image_name_invalid' } });
  await executor.forget(spec.attemptId);
  await eventually(() => executor.isGone(spec.attemptId, limit())).toBe(true);
});

test('a program that is not in the image is an end', async () => {
  const executor = space.open({ command: ['/no/such/agent'] });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', finding: { signal: 'container_start' } });
  expect(await executor.logs(spec.attemptId)).toContain('/no/such/agent');
});

test('a Secret of the storage that is missing may still come', async () => {
  const executor = space.open({ storageSecretName: 'missing' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'pending',
    finding: { signal: 'container_configuration', message: expect.stringContaining('secret "missing" not found') },
  });
  await core.createNamespacedSecret({ namespace: space.name, body: { metadata: { name: 'missing' }, stringData: { S3_KEY: 'k' } } });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running', finding: null });
});

test('more GPUs than a node has: it waits, in the words of the scheduler, and nothing of it fits', async () => {
  const gpus = await gpusOfANode();
  const executor = space.open({ gpusPerPod: gpus + 1 });
  const spec = aSpec();
  expect((await executor.capacity(limit(), new Set()))?.fits).toBe(0);
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'pending',
    finding: { signal: 'unschedulable', message: expect.stringMatching(/Insufficient nvidia\.com\/gpu/) },
  });
});

test('a quota of Jobs refuses the start with 403, which is told as a quota', async () => {
  const hard = { 'count/jobs.batch': '0' };
  await core.createNamespacedResourceQuota({ namespace: space.name, body: { metadata: { name: 'none' }, spec: { hard } } });
  await eventually(async () => (await core.listNamespacedResourceQuota({ namespace: space.name })).items[0]?.status?.hard).toEqual(hard);
  await expect(space.open().start(aSpec(), limit())).rejects.toMatchObject({
    code: 'quota_exceeded',
    message: expect.stringContaining('exceeded quota'),
  });
});

test('a quota of pods leaves the Job without one, and the reason is found', async () => {
  const hard = { pods: '0' };
  await core.createNamespacedResourceQuota({ namespace: space.name, body: { metadata: { name: 'none' }, spec: { hard } } });
  await eventually(async () => (await core.listNamespacedResourceQuota({ namespace: space.name })).items[0]?.status?.hard).toEqual(hard);
  const executor = space.open();
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'pending',
    message: expect.stringContaining('exceeded quota'),
    finding: { signal: 'quota_exceeded' },
  });
});

test('out of memory is told from other kills', async () => {
  const executor = space.open({ script: 'tail /dev/zero', memory: '12Mi' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', finding: { signal: 'out_of_memory' } });
});

test('an eviction through the API, as a drain does it, is told, and the agent had its grace', async () => {
  const executor = space.open({ script: endsAtTerm(75) });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  const name = await podName();
  await core.createNamespacedPodEviction({ name, namespace: space.name, body: { metadata: { name, namespace: space.name } } });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 75, finding: { signal: 'drained' } });
});

test('a pod of higher priority takes the GPUs: that is told', async () => {
  const gpus = await gpusOfANode();
  const scheduling = kubeConfig.makeApiClient(SchedulingV1Api);
  const classes = [`${space.name}-low`, `${space.name}-high`] as const;
  const bodies = classes.map((name, index) => ({ metadata: { name }, value: index * 1000 }));
  for (const body of bodies) await scheduling.createPriorityClass({ body });
  try {
    const low = space.open({ gpusPerPod: gpus, priorityClassName: classes[0], script: endsAtTerm(75) });
    const high = space.open({ gpusPerPod: gpus, priorityClassName: classes[1] });
    const [first, second] = [aSpec(), aSpec({ name: 'mini-1/512/1' })];
    expect((await low.capacity(limit(), new Set()))?.fits).toBeGreaterThan(0);
    await low.start(first, limit());
    await eventually(() => low.logs(first.attemptId)).toContain('started');
    await eventually(() => low.capacity(limit(), new Set())).toMatchObject({
      fits: 0,
      sentences: [expect.stringMatching(/: 0 of \d+ GPUs free/)],
    });
    await high.start(second, limit());
    await eventually(() => observed(low, first)).toMatchObject({ phase: 'exited', finding: { signal: 'preempted' } });
    await eventually(() => observed(high, second)).toMatchObject({ phase: 'running' });
  } finally {
    for (const name of classes) await scheduling.deletePriorityClass({ name });
  }
});

test('longer than its pool allows is a deadline', async () => {
  const executor = space.open({ script: endsAtTerm(143), deadlineSeconds: 2 });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', finding: { signal: 'deadline_exceeded' } });
});

test('a pool without GPUs is told how many of its pods the cores and memory of the nodes can hold', async () => {
  expect(await space.open().capacity(limit(), new Set())).toMatchObject({
    fits: expect.any(Number),
    sentences: expect.arrayContaining([expect.stringMatching(/^node \S+: .* cores and .* GiB free$/)]),
  });
});

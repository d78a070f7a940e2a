// CI runs this when libs/executor/kubernetes, libs/executor/testing change, else one time in three; it takes about 150 s.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NodeV1Api, SchedulingV1Api } from '@kubernetes/client-node';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { aSpec, endsAtTerm, eventually, limit, observed } from '../testing/attempts.ts';
import { core, kubeConfig, type TestNamespace, testNamespace } from './testing/cluster.ts';

vi.setConfig({ testTimeout: 90_000 });

let space: TestNamespace;
beforeEach(async () => {
  space = await testNamespace();
});
afterEach(() => space.close());

/** The node with the most GPUs, and how many. */
async function gpuNode(): Promise<{ node: string; gpus: number }> {
  const { items } = await core.listNode();
  const nodes = items.map(({ metadata, status }) => ({
    node: metadata?.name ?? '',
    gpus: Number(status?.allocatable?.['nvidia.com/gpu'] ?? 0),
  }));
  return nodes.reduce((most, one) => (one.gpus > most.gpus ? one : most));
}

async function gpusOfANode(): Promise<number> {
  return (await gpuNode()).gpus;
}

/** As the scheduler does, but without checking whether the node has room. */
async function bind(pod: string, node: string): Promise<void> {
  const target = { apiVersion: 'v1', kind: 'Node', name: node };
  await core.createNamespacedPodBinding({ name: pod, namespace: space.name, body: { metadata: { name: pod }, target } });
}

async function podName(): Promise<string> {
  return (await core.listNamespacedPod({ namespace: space.name })).items[0]?.metadata?.name ?? '';
}

test('an image that cannot be pulled is reported, and the log says why', async () => {
  const executor = space.open({ image: 'registry.invalid/none/such:1' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'pending', finding: { signal: 'image_pull' } });
  await eventually(() => executor.logs(spec.attemptId)).toMatch(/registry\.invalid\/none\/such[\s\S]*warning: Failed: /);
});

test('a registry that rejects the node or cannot be reached is not the user’s mistake', async () => {
  // On this machine: from another's node nothing listens there, which is reported the same way.
  const registry = createServer((_, response) => response.writeHead(429).end());
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void registry.close());
  const executor = space.open({ image: `localhost:${(registry.address() as AddressInfo).port}/none/such:1` });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'pending',
    finding: { signal: 'image_registry_busy', message: expect.stringMatching(/429|connection refused/) },
  });
});

test('an invalid image name is reported, and the attempt can be forgotten', async () => {
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

test('a container that cannot be created is reported', async () => {
  const open = await testNamespace('privileged');
  onTestFinished(() => open.close());
  const executor = open.open({ nodeMounts: [{ name: 'none', hostPath: '/etc/passwd/none', mountPath: '/mnt' }] });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'pending',
    finding: { signal: 'container_creation', message: expect.stringContaining('/etc/passwd/none') },
  });
});

test('a pod whose sandbox cannot be created only shows that it is being created, and the log says why', async () => {
  const runtimes = kubeConfig.makeApiClient(NodeV1Api);
  await runtimes.createRuntimeClass({ body: { metadata: { name: space.name }, handler: 'none-such' } });
  onTestFinished(async () => void (await runtimes.deleteRuntimeClass({ name: space.name })));
  const executor = space.open({ runtimeClassName: space.name });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toMatch(/warning: FailedCreatePodSandBox: .*none-such/);
  expect(await observed(executor, spec)).toMatchObject({ phase: 'pending', finding: { signal: 'container_creating' } });
});

test('a pod that the namespace’s Pod Security forbids is reported in its words', async () => {
  const executor = space.open({ nodeMounts: [{ name: 'cache', hostPath: '/var/cache', mountPath: '/mnt' }] });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'pending',
    finding: { signal: 'no_pod', message: expect.stringContaining('violates PodSecurity "restricted:latest": restricted volume types') },
  });
});

test('more GPUs than a node has: it waits with the scheduler’s message, and nothing fits', async () => {
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

test('a node with fewer GPUs than the scheduler expected refuses the pod, and is named', async () => {
  const { node, gpus } = await gpuNode();
  const executor = space.open({ gpusPerPod: gpus + 1 });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(podName).not.toBe('');
  await bind(await podName(), node);
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'exited',
    exitCode: null,
    node,
    finding: { signal: 'admission_refused', message: expect.stringContaining('nvidia.com/gpu') },
  });
});

test('a pod that is deleted before it reaches a node is gone, for a later executor too', async () => {
  const executor = space.open({ gpusPerPod: (await gpusOfANode()) + 1 });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ finding: { signal: 'unschedulable' } });
  await core.deleteNamespacedPod({ name: await podName(), namespace: space.name });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: null, finding: { signal: 'pod_gone' } });
  // It has only the Job to infer it from.
  await eventually(podName).toBe('');
  const later = space.open();
  await eventually(() => observed(later, spec)).toMatchObject({ phase: 'exited', finding: { signal: 'pod_gone' } });
});

test('a pod whose node was taken out of the cluster is ended by Kubernetes, and the node is blamed', async () => {
  const node = `${space.name}-node`;
  const labels = { 'cairn.dev/test': space.name };
  await core.createNode({ body: { metadata: { name: node, labels } } });
  const executor = space.open({ nodeSelector: labels });
  const spec = aSpec();
  try {
    await executor.start(spec, limit());
    await eventually(podName).not.toBe('');
    await bind(await podName(), node);
    await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'pending', node });
  } finally {
    await core.deleteNode({ name: node });
  }
  // Kubernetes checks every 20 s, and acts when it finds the node gone for 40 s.
  await eventually(() => observed(executor, spec), 120_000).toMatchObject({ phase: 'exited', node, finding: { signal: 'node_gone' } });
}, 150_000);

test('a quota of Jobs refuses the start with 403, which is reported as a quota', async () => {
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

test('out of memory is distinguished from other kills', async () => {
  const executor = space.open({ script: 'tail /dev/zero', memory: '12Mi' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', finding: { signal: 'out_of_memory' } });
});

test('the exit code of a SIGBUS means too little shared memory', async () => {
  const executor = space.open({ script: 'exit 135' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({
    phase: 'exited',
    exitCode: 135,
    finding: { signal: 'shared_memory_full' },
  });
});

test('an eviction through the API, as in a drain, is reported, and the agent had its grace period', async () => {
  const executor = space.open({ script: endsAtTerm(75) });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  const name = await podName();
  await core.createNamespacedPodEviction({ name, namespace: space.name, body: { metadata: { name, namespace: space.name } } });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'exited', exitCode: 75, finding: { signal: 'drained' } });
});

test('a pod of higher priority takes the GPUs: that is reported', async () => {
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

test('an agent that ignores the deadline of its pool is reported once its grace period is over too', async () => {
  const executor = space.open({ deadlineSeconds: 1, graceSeconds: 1, script: 'echo $CAIRN_DEADLINE_SECONDS; sleep 600' });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toBe('1\n');
  expect(await observed(executor, spec)).toMatchObject({ phase: 'running', finding: null });
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running', finding: { signal: 'deadline_exceeded' } });
});

test('for a pool without GPUs, cores and memory of the nodes say how many of its pods fit', async () => {
  expect(await space.open().capacity(limit(), new Set())).toMatchObject({
    fits: expect.any(Number),
    sentences: expect.arrayContaining([expect.stringMatching(/^node \S+: .* cores and .* GiB free$/)]),
  });
});

// CI runs this when libs/executor/kubernetes, libs/executor/testing change, else one time in three; it takes about 120 s.

import { pause, sleep } from '@cairn/runtime';
import { breakGpus, killServer } from '@cairn/testing';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { aSpec, endsAtTerm, eventually, limit, observed } from '../testing/attempts.ts';
import { core, type TestNamespace, testNamespace } from './testing/cluster.ts';

// Runs only where CAIRN_TEST_CLUSTER_HOME says where the servers of the cluster are, because it kills them.
vi.setConfig({ testTimeout: 240_000 });

let space: TestNamespace;
let nodesBefore: unknown;
beforeEach(async () => {
  space = await testNamespace();
  nodesBefore = await nodes();
});
afterEach(async () => {
  await space.close();
  // A kubelet that has just come back accepts no pod, or has no GPU, for a while: the next test must find the nodes as this one did.
  await eventually(nodes, 90_000).toEqual(nodesBefore);
});

const nodes = async () =>
  (await core.listNode()).items.map(({ spec, status }) => ({ taints: spec?.taints ?? [], gpus: status?.allocatable?.['nvidia.com/gpu'] }));

const taints = async () =>
  (await core.listNode()).items.flatMap(({ spec }) => spec?.taints ?? []).map(({ key, effect }) => `${key}:${effect}`);

test('an API server that goes away and comes back: running attempts continue, and those that ended meanwhile are noticed', async () => {
  const executor = space.open({ script: 'sleep 12' });
  const [spec, later] = [aSpec(), aSpec()];
  await executor.start(spec, limit());
  await eventually(() => observed(executor, spec)).toMatchObject({ phase: 'running' });
  const restart = killServer('apiserver');
  try {
    await eventually(() => executor.isWatching()).toBe(false);
    expect(await observed(executor, spec)).toMatchObject({ phase: 'running' });
    await expect(executor.start(later, limit())).rejects.toMatchObject({ code: 'unavailable' });
    await expect(executor.isGone(spec.attemptId, limit())).rejects.toMatchObject({ code: 'unavailable' });
    expect(await executor.logs(spec.attemptId)).toBe('');
    // Half a minute, and longer than the pod lives.
    await sleep(30_000);
  } finally {
    restart();
  }
  await eventually(() => executor.isWatching(), 60_000).toBe(true);
  await eventually(() => observed(executor, spec), 60_000).toMatchObject({ phase: 'exited', exitCode: 0 });
  await executor.start(later, limit());
  // The cluster's own controllers take longer to come back; the tests after this one need them.
  await eventually(() => observed(executor, later), 120_000).toMatchObject({ phase: 'exited', exitCode: 0 });
});

test('a lost node is reported; the attempt can be given up, and its pod ends when the node is back', async () => {
  // All GPUs of the node, so that nothing but their return lets the successor start, however late the scheduler learns of the taint.
  const executor = space.open({ gpusPerPod: 8, script: endsAtTerm(75) });
  const [spec, next] = [aSpec(), aSpec({ name: 'mini-1/384/2' })];
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  const restart = killServer('kubelet');
  try {
    await eventually(() => observed(executor, spec), 60_000).toMatchObject({ phase: 'running', finding: { signal: 'node_silent' } });
    expect((await executor.capacity(limit(), new Set()))?.sentences).toContainEqual(expect.stringContaining('not ready'));
    await eventually(taints).toContain('node.kubernetes.io/unreachable:NoSchedule');
    // Given up: its generation is revoked, and its successor need not wait for proof.
    await executor.forget(spec.attemptId);
    expect(await executor.isGone(spec.attemptId, limit())).toBe(false);
    await executor.start(next, limit());
    await eventually(() => observed(executor, next)).toMatchObject({ phase: 'pending', finding: { signal: 'unschedulable' } });
    expect(await observed(executor, spec)).toMatchObject({ phase: 'running' });
  } finally {
    restart();
  }
  await eventually(() => executor.isGone(spec.attemptId, limit()), 90_000).toBe(true);
  await eventually(() => observed(executor, next), 90_000).toMatchObject({ phase: 'running', finding: null });
  expect(await observed(executor, spec)).toBeUndefined();
});

test('a pod that Kubernetes deletes from a lost node ends once the node is back to confirm it', async () => {
  const unreachable = { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 1 } as const;
  const executor = space.open({ script: endsAtTerm(75), tolerations: [unreachable] });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  const removeStandIn = await standInNode();
  const restart = killServer('kubelet');
  try {
    const deletedAt = async () => (await core.listNamespacedPod({ namespace: space.name })).items[0]?.metadata?.deletionTimestamp;
    await eventually(deletedAt, 60_000).toBeInstanceOf(Date);
    expect(await observed(executor, spec)).toMatchObject({ phase: 'running', finding: { signal: 'node_silent' } });
  } finally {
    restart();
    await removeStandIn();
  }
  await eventually(() => observed(executor, spec), 90_000).toMatchObject({ phase: 'exited', finding: { signal: 'node_lost' } });
});

test('a GPU that becomes unhealthy is reported, kills nothing, and is blamed for a crash', async () => {
  const executor = space.open({ gpusPerPod: 6, script: endsAtTerm(1) });
  const spec = aSpec();
  await executor.start(spec, limit());
  await eventually(() => executor.logs(spec.attemptId)).toContain('started');
  expect(await observed(executor, spec)).toMatchObject({ phase: 'running', finding: null });
  breakGpus(3, 5);
  try {
    await eventually(() => observed(executor, spec), 60_000).toMatchObject({
      phase: 'running',
      finding: { signal: 'gpu_unhealthy', message: expect.stringMatching(/^2 of 8 GPUs of node \S+ are unhealthy$/) },
    });
    expect(await executor.capacity(limit(), new Set())).toMatchObject({
      fits: 0,
      sentences: [expect.stringMatching(/0 of 8 GPUs free, 2 unhealthy$/)],
    });
    const name = (await core.listNamespacedPod({ namespace: space.name })).items[0]?.metadata?.name ?? '';
    await core.deleteNamespacedPod({ name, namespace: space.name });
    await eventually(() => observed(executor, spec)).toMatchObject({
      phase: 'exited',
      exitCode: 1,
      finding: { signal: 'failed_beside_sick_gpu' },
    });
  } finally {
    breakGpus();
  }
  await eventually(async () => (await executor.capacity(limit(), new Set()))?.sentences, 60_000).toEqual([
    expect.stringMatching(/8 of 8 GPUs free$/),
  ]);
});

const heartbeatMs = 2000;

/**
 * A node known only to the API server: it is always ready and accepts no pods. Kubernetes deletes the pods of a lost node only while
 * another is left. Returns the function that removes it again, which rejects when a heartbeat failed.
 */
async function standInNode(): Promise<() => Promise<void>> {
  const metadata = { name: 'stand-in' };
  const beat = () => {
    const now = new Date();
    const ready = { type: 'Ready', status: 'True', reason: 'StandIn', message: '', lastHeartbeatTime: now, lastTransitionTime: now };
    return core.replaceNodeStatus({ ...metadata, body: { metadata, status: { conditions: [ready] } } });
  };
  await core.createNode({ body: { metadata, spec: { unschedulable: true } } });
  await beat();
  const stopping = new AbortController();
  const beating = (async () => {
    while (!stopping.signal.aborted) {
      await beat();
      await pause(heartbeatMs, stopping.signal);
    }
  })();
  return async () => {
    stopping.abort();
    await beating.finally(() => core.deleteNode(metadata));
  };
}

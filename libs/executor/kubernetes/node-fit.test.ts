import { describe, expect, test } from 'vitest';
import { attemptLabel, generationLabel } from '../attempt-containers.ts';
import type { Pod } from './cluster-objects.ts';
import { type AttemptView, avoidable, nodeFit, type PodNeeds, podNeeds, withoutPromised } from './node-fit.ts';
import { jobManifest } from './pod-spec.ts';
import { kubernetesPoolSettings } from './pool-settings.ts';
import { aJob, aNode, aPod } from './testing/objects.ts';

const running = { phase: 'Running' };
const needs = (change: Partial<PodNeeds> = {}): PodNeeds => ({
  gpuResource: 'nvidia.com/gpu',
  gpus: 8,
  cpu: 8,
  memory: 64 * 2 ** 30,
  nodeSelector: {},
  tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
  ...change,
});
const gpuTaint = { key: 'nvidia.com/gpu', effect: 'NoSchedule' };

describe('node fit', () => {
  test('a pod fits a free node, and none where others hold the GPUs', () => {
    const pods = [aPod(running, { nodeName: 'a', gpus: 5 })];
    expect(nodeFit([aNode({ name: 'a' }), aNode({ name: 'b' })], pods, needs())).toEqual({
      fits: 1,
      sentences: ['node a: 3 of 8 GPUs free', 'node b: 8 of 8 GPUs free'],
      nodes: [
        { name: 'a', gpus: { total: 8, free: 3, unhealthy: 0 }, fits: 0, refusal: null },
        { name: 'b', gpus: { total: 8, free: 8, unhealthy: 0 }, fits: 1, refusal: null },
      ],
    });
  });

  test('pods that have ended, or have no node yet, hold nothing', () => {
    const pods = [aPod({ phase: 'Succeeded' }), aPod({ phase: 'Failed' }), aPod({ phase: 'Pending' }, { nodeName: null })];
    expect(nodeFit([aNode()], pods, needs()).fits).toBe(1);
  });

  test('several small pods fit a node', () => {
    expect(nodeFit([aNode()], [aPod(running, { gpus: 2 })], needs({ gpus: 2, cpu: 4 })).fits).toBe(3);
  });

  test('an unhealthy GPU does not count', () => {
    expect(nodeFit([aNode({ allocatable: { 'nvidia.com/gpu': '6' } })], [], needs())).toMatchObject({
      fits: 0,
      nodes: [{ gpus: { total: 8, free: 6, unhealthy: 2 } }],
      sentences: ['node a: 6 of 8 GPUs free, 2 unhealthy'],
    });
  });

  test('cores and memory count as well', () => {
    expect(nodeFit([aNode({ allocatable: { cpu: '7500m' } })], [], needs())).toMatchObject({
      fits: 0,
      sentences: ['node a: 8 of 8 GPUs free, but only 7.5 of 7.5 cores and 1024 of 1024 GiB'],
    });
  });

  test('a pool without GPUs gets cores and memory', () => {
    expect(nodeFit([aNode()], [aPod(running)], needs({ gpus: 0 }))).toMatchObject({
      fits: 11,
      nodes: [{ gpus: null, fits: 11 }],
      sentences: ['node a: 88 of 96 cores and 960 of 1024 GiB free'],
    });
  });
});

describe('nodes that accept no pod', () => {
  test.each([
    ['not ready', aNode({ ready: 'Unknown' }), 'node a: not ready'],
    ['cordoned', aNode({ unschedulable: true }), 'node a: cordoned'],
    ['tainted', aNode({ taints: [gpuTaint, { key: 'dedicated', value: 'web', effect: 'NoSchedule' }] }), 'node a: tainted dedicated=web'],
  ])('%s', (_, node, sentence) => {
    expect(nodeFit([node], [], needs())).toMatchObject({
      fits: 0,
      sentences: [sentence],
      nodes: [{ refusal: sentence.slice('node a: '.length) }],
    });
  });

  test('a tolerated taint and a mere preference keep no pod away', () => {
    const taints = [gpuTaint, { key: 'old', effect: 'PreferNoSchedule' }];
    expect(nodeFit([aNode({ taints })], [], needs()).fits).toBe(1);
  });

  test('without the labels of the pool', () => {
    const nodes = [aNode({ name: 'a', labels: { zone: 'a' } }), aNode({ name: 'b' })];
    expect(nodeFit(nodes, [], needs({ nodeSelector: { zone: 'a' } })).sentences).toEqual(['node a: 8 of 8 GPUs free']);
    expect(nodeFit(nodes, [], needs({ nodeSelector: { zone: 'c' } }))).toEqual({
      fits: 0,
      sentences: ['no node has the labels zone=c'],
      nodes: [],
    });
  });
});

test('a node is avoided only while the pool can use another', () => {
  const nodes = [aNode({ name: 'a', labels: { gpu: 'yes' } }), aNode({ name: 'b', labels: { gpu: 'yes' } }), aNode({ name: 'cpu' })];
  const gpus = { gpu: 'yes' };
  expect(avoidable(['a'], nodes, gpus)).toEqual(['a']);
  expect(avoidable(['a', 'b'], nodes, gpus)).toEqual([]);
  // There may be many nodes that cannot be read.
  expect(avoidable(['a'], [], gpus)).toEqual(['a']);
});

describe('the request of a pod', () => {
  test.each([
    ['of loaders', {}, 6 * 2 ** 30],
    ['of a step without loaders', {}, 0],
    ['of the pool', { sharedMemory: '100Gi' }, 6 * 2 ** 30],
  ])('is the memory that its manifest requests, with the shared memory %s', (_, change, loaderBytes) => {
    const settings = kubernetesPoolSettings.parse({ namespace: 'training', image: 'worker:1', allowTags: true, ...change });
    const spec = { attemptId: 'att_1', generation: 1, name: 'mini-1/384/1', slots: 8, env: {}, loaderBytes };
    const { resources } = jobManifest(spec, { instance: 'test', pool: 'test' }, settings).spec?.template.spec?.containers[0] ?? {};
    expect(String(podNeeds(settings, loaderBytes).memory)).toBe(resources?.requests?.memory);
  });
});

const free = { fits: 3, sentences: ['node a: 8 of 8 GPUs free'], nodes: [] };
const podOf = (attemptId: string, phase: string): Pod => {
  const pod = aPod({ phase });
  return { ...pod, metadata: { ...pod.metadata, labels: { [attemptLabel]: attemptId, [generationLabel]: '1' } } };
};
const viewOf = (attemptId: string, pods: Pod[] = []): AttemptView => ({ attemptId, generation: 1, job: aJob(), pods });
const of = (live: string[], views: AttemptView[], placed: Pod[]) => withoutPromised(free, { live: new Set(live), views, placed });

test('an attempt that has no Job yet, and a pod that has no node yet, take the next places', () => {
  expect(of(['made'], [], []).fits).toBe(2);
  expect(of(['made', 'waits'], [viewOf('waits', [podOf('waits', 'Pending')])], [])).toEqual({
    fits: 1,
    leaving: 0,
    sentences: ['the next 2 places are taken by attempts that were just started', 'node a: 8 of 8 GPUs free'],
    nodes: [],
  });
});

test('a pod on its node takes no further place', () => {
  const pod = podOf('runs', 'Running');
  expect(of(['runs'], [viewOf('runs', [pod])], [pod])).toEqual({ ...free, leaving: 0 });
});

test('a pod that has ended takes none, even while its attempt is not yet recorded as over', () => {
  expect(of(['ended'], [viewOf('ended', [podOf('ended', 'Failed')])], []).fits).toBe(3);
});

test('a pod whose attempt is over is leaving its node', () => {
  const pod = podOf('over', 'Running');
  expect(of([], [viewOf('over', [pod])], [pod])).toMatchObject({ fits: 3, leaving: 1 });
});

test('no place is left when more are promised than exist', () => {
  expect(of(['a', 'b', 'c', 'd'], [], []).fits).toBe(0);
});

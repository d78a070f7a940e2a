import { describe, expect, test } from 'vitest';
import type { Job, Node, Pod } from './cluster-objects.ts';
import { diagnose } from './pod-failure.ts';
import { aJob, aNode, aPod, at, type PodStatus } from './testing/objects.ts';

const see = (pods: Pod[], more: { job?: Job | null; node?: Node | null } = {}) =>
  diagnose({ job: aJob(), node: aNode(), gpuResource: 'nvidia.com/gpu', ...more, pods });
const scheduled = { type: 'PodScheduled', status: 'True', lastTransitionTime: at(5) };

/** A pod whose agent has ended this way. */
const failed = (terminated: { exitCode: number; reason?: string; message?: string }, more: PodStatus = {}): PodStatus => ({
  phase: terminated.exitCode === 0 ? 'Succeeded' : 'Failed',
  conditions: [scheduled],
  containerStatuses: [{ name: 'agent', state: { terminated: { reason: 'Error', finishedAt: at(60), ...terminated } } }],
  ...more,
});
const disrupted = (reason: string, message = '') => ({
  conditions: [scheduled, { type: 'DisruptionTarget', status: 'True', reason, message, lastTransitionTime: at(50) }],
});
const waitingFor = (reason: string, message?: string): PodStatus => ({
  phase: 'Pending',
  conditions: [scheduled],
  containerStatuses: [{ name: 'agent', state: { waiting: { reason, message } } }],
});

describe('a pod that waits', () => {
  test('in the queue of the cluster', () => {
    const conditions = [{ type: 'Suspended', status: 'True', reason: 'JobSuspended', message: 'Job suspended', lastTransitionTime: at(1) }];
    const { phase, finding } = see([], { job: aJob({ conditions }, { suspend: true }) });
    expect(phase).toBe('pending');
    expect(finding).toEqual({ signal: 'queued', since: Date.parse(at(1)), message: 'Job suspended' });
  });

  test('because its Job has created none yet', () => {
    expect(see([], { job: aJob({}) })).toMatchObject({ phase: 'pending', finding: { signal: 'no_pod', since: Date.parse(at(0)) } });
  });

  test('because no node can hold it, with the scheduler’s message', () => {
    const message = '0/1 nodes are available: 1 Insufficient nvidia.com/gpu.';
    const conditions = [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message, lastTransitionTime: at(2) }];
    expect(see([aPod({ phase: 'Pending', conditions }, { nodeName: null })], { node: null })).toMatchObject({
      phase: 'pending',
      message,
      finding: { signal: 'unschedulable', since: Date.parse(at(2)), message },
    });
  });

  test.each([
    ['ErrImagePull', 'failed to resolve reference "x/y:1": not found', 'image_pull'],
    ['ImagePullBackOff', 'Back-off pulling image "x/y:1": 429 Too Many Requests', 'image_registry_busy'],
    ['ImagePullBackOff', 'dial tcp 10.0.0.1:443: i/o timeout', 'image_registry_busy'],
    ['ErrImageNeverPull', 'image is not present with pull policy of Never', 'image_pull'],
    ['InvalidImageName', 'couldn’t parse image name "UPPER:1"', 'image_name_invalid'],
    ['CreateContainerConfigError', 'secret "attempt" not found', 'container_configuration'],
    ['CreateContainerError', 'failed to generate container spec', 'container_creation'],
    ['RunContainerError', 'failed to create shim task', 'container_creation'],
  ])('for its container: %s (%s)', (reason, message, signal) => {
    expect(see([aPod(waitingFor(reason, message))])).toMatchObject({
      phase: 'pending',
      exitCode: null,
      finding: { signal, message: `${reason}: ${message}` },
    });
  });

  test('for a volume or a large image, which looks the same', () => {
    const { finding } = see([aPod(waitingFor('ContainerCreating'))]);
    expect(finding).toEqual({ signal: 'container_creating', since: Date.parse(at(5)), message: 'on node a' });
  });
});

describe('a pod that runs', () => {
  const running: PodStatus = {
    phase: 'Running',
    conditions: [scheduled],
    containerStatuses: [{ name: 'agent', state: { running: { startedAt: at(10) } } }],
  };

  test('and all is well', () => {
    expect(see([aPod(running)])).toEqual({
      phase: 'running',
      exitCode: null,
      message: 'running',
      finding: null,
      startedAt: Date.parse(at(10)),
    });
  });

  test('on a node that does not answer, even while its deletion hangs', () => {
    const node = aNode({ ready: 'Unknown', readySince: at(30) });
    for (const change of [{}, { deletionTimestamp: at(40) }]) {
      expect(see([aPod(running, change)], { node })).toMatchObject({
        phase: 'running',
        finding: { signal: 'node_silent', since: Date.parse(at(30)), message: 'node a is not ready' },
      });
    }
  });

  test('next to a GPU that became unhealthy', () => {
    const node = aNode({ allocatable: { 'nvidia.com/gpu': '6' } });
    expect(see([aPod(running)], { node })).toMatchObject({
      phase: 'running',
      finding: { signal: 'gpu_unhealthy', message: '2 of 8 GPUs of node a are unhealthy' },
    });
    expect(see([aPod(running, { gpus: 0 })], { node }).finding).toBeNull();
  });

  test('on a GPU that its own status calls unhealthy', () => {
    const status = running.containerStatuses?.[0];
    const sick = {
      ...running,
      containerStatuses: [
        { ...status, name: 'agent', allocatedResourcesStatus: [{ resources: [{ health: 'Unhealthy' }, { health: 'Healthy' }] }] },
      ],
    };
    expect(see([aPod(sick)]).finding).toMatchObject({ signal: 'gpu_unhealthy', message: '1 of its GPUs on node a are unhealthy' });
  });
});

describe('a pod that has ended', () => {
  test.each<[string, PodStatus, string]>([
    ['with a code without a meaning', failed({ exitCode: 1 }), 'agent_failed'],
    ['because its configuration is wrong', failed({ exitCode: 78 }), 'agent_configuration'],
    ['because another agent has its attempt', failed({ exitCode: 79 }), 'agent_superseded'],
    ['after it saved its work', failed({ exitCode: 75 }), 'agent_preempted'],
    ['with success, without reporting it', failed({ exitCode: 0, reason: 'Completed' }), 'ended_without_result'],
    ['out of memory', failed({ exitCode: 137, reason: 'OOMKilled' }), 'out_of_memory'],
    ['out of memory with code 0', failed({ exitCode: 0, reason: 'OOMKilled' }), 'out_of_memory'],
    ['on a full /dev/shm', failed({ exitCode: 135 }), 'shared_memory_full'],
    [
      'because a loader hit a full /dev/shm',
      failed({ exitCode: 1, message: 'RuntimeError: DataLoader worker is killed by signal: Bus error.' }),
      'shared_memory_full',
    ],
    ['killed', failed({ exitCode: 137 }), 'killed'],
    ['terminated', failed({ exitCode: 143 }), 'killed'],
    ['before its program began', failed({ exitCode: 128, reason: 'StartError', message: 'exec: "agent": not found' }), 'container_start'],
    [
      'evicted for memory',
      failed(
        { exitCode: 137 },
        { reason: 'Evicted', message: 'The node was low on resource: memory.', ...disrupted('TerminationByKubelet') },
      ),
      'node_pressure',
    ],
    [
      'at a shutdown of the node',
      failed(
        { exitCode: 143 },
        {
          reason: 'Terminated',
          message: 'Pod was terminated in response to imminent node shutdown.',
          ...disrupted('TerminationByKubelet'),
        },
      ),
      'node_shutdown',
    ],
    [
      'for a pod of higher priority',
      failed({ exitCode: 143 }, disrupted('PreemptionByScheduler', 'default-scheduler: preempting to accommodate a higher priority pod')),
      'preempted',
    ],
    ['drained, although it saved', failed({ exitCode: 75 }, disrupted('EvictionByEvictionAPI', 'Eviction API: evicting')), 'drained'],
    ['by the taint of a lost node', failed({ exitCode: 137 }, disrupted('DeletionByTaintManager')), 'node_lost'],
    ['because its node is gone', { phase: 'Failed', ...disrupted('DeletionByPodGC', 'PodGC: node no longer exists') }, 'node_gone'],
    [
      'refused by the kubelet',
      { phase: 'Failed', reason: 'UnexpectedAdmissionError', message: 'Allocate failed due to no healthy devices present' },
      'admission_refused',
    ],
    [
      'refused because a resource is missing',
      { phase: 'Failed', reason: 'OutOfnvidia.com/gpu', message: 'Node did not have enough resource' },
      'admission_refused',
    ],
    [
      'past its deadline',
      { phase: 'Failed', reason: 'DeadlineExceeded', message: 'Pod was active on the node longer than the specified deadline' },
      'deadline_exceeded',
    ],
  ])('%s', (_, status, signal) => {
    const { phase, finding } = see([aPod(status)]);
    expect({ phase, signal: finding?.signal }).toEqual({ phase: 'exited', signal });
  });

  test('reports code, time and message', () => {
    const message = 'default-scheduler: preempting to accommodate a higher priority pod';
    expect(see([aPod(failed({ exitCode: 143 }, disrupted('PreemptionByScheduler', message)))])).toEqual({
      phase: 'exited',
      exitCode: 143,
      message,
      finding: { signal: 'preempted', since: Date.parse(at(60)), message },
    });
  });

  test('next to an unhealthy GPU: the GPU is blamed for a crash, but not for a wrong configuration', () => {
    const node = aNode({ allocatable: { 'nvidia.com/gpu': '7' } });
    expect(see([aPod(failed({ exitCode: 1 }))], { node }).finding).toMatchObject({
      signal: 'failed_beside_sick_gpu',
      message: '1 of 8 GPUs of node a are unhealthy',
    });
    expect(see([aPod(failed({ exitCode: 78 }))], { node }).finding?.signal).toBe('agent_configuration');
    expect(see([aPod(failed({ exitCode: 137, reason: 'OOMKilled' }))], { node }).finding?.signal).toBe('out_of_memory');
  });

  test('before it started, by hand', () => {
    expect(see([aPod({ phase: 'Failed' }, { deletionTimestamp: at(9) })])).toMatchObject({
      phase: 'exited',
      finding: { signal: 'pod_gone' },
    });
  });
});

describe('a Job whose pod is gone', () => {
  const condition = (reason: string, message: string) => ({ type: 'Failed', status: 'True', reason, message, lastTransitionTime: at(60) });

  test.each([
    [
      'PodFailurePolicy',
      'Container agent for pod training/attempt-x1 failed with exit code 78 matching FailJob rule at index 1',
      78,
      'agent_configuration',
    ],
    ['PodFailurePolicy', 'Pod training/attempt-x1 has condition DisruptionTarget matching FailJob rule at index 0', null, 'drained'],
    ['DeadlineExceeded', 'Job was active longer than specified deadline', null, 'deadline_exceeded'],
    ['BackoffLimitExceeded', 'Job has reached the specified backoff limit', null, 'pod_gone'],
  ])('still says why it failed: %s (%s)', (reason, message, exitCode, signal) => {
    const job = aJob({ failed: 1, conditions: [condition(reason, message)] });
    expect(see([], { job })).toMatchObject({ phase: 'exited', exitCode, finding: { signal, message } });
  });

  test('or that it completed', () => {
    const job = aJob({ conditions: [{ type: 'Complete', status: 'True' }] });
    expect(see([], { job })).toMatchObject({ phase: 'exited', exitCode: 0, finding: { signal: 'ended_without_result' } });
  });

  test('is not over while it is being removed', () => {
    expect(see([], { job: aJob({}, { deletionTimestamp: at(70) }) })).toMatchObject({ phase: 'pending', finding: null });
  });
});

test('a deadline kills like anything else, and the Job shows the difference', () => {
  const job = aJob({
    conditions: [{ type: 'Failed', status: 'True', reason: 'DeadlineExceeded', message: 'Job was active longer than specified deadline' }],
  });
  expect(see([aPod(failed({ exitCode: 143 }))], { job }).finding?.signal).toBe('deadline_exceeded');
});

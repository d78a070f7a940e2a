import { expect, test } from 'vitest';
import { type Workload, workloadObject } from './cluster-objects.ts';
import { evictedFor, type QueueState, queuedMessage } from './kueue.ts';
import { at } from './testing/objects.ts';

type WorkloadCondition = { type: string; status?: 'True' | 'False'; reason: string; message?: string };
const aWorkload = (conditions: WorkloadCondition[], admissionChecks: object[] = []): Workload =>
  workloadObject.parse({
    metadata: { name: 'job-x', uid: 'w-1' },
    status: {
      conditions: conditions.map(({ status = 'False', message = '', ...rest }) => ({
        ...rest,
        status,
        message,
        lastTransitionTime: at(5),
      })),
      admissionChecks,
    },
  });
const queueState = (change: Partial<QueueState>): QueueState => ({
  queueName: 'gpus',
  namespace: 'training',
  priorityClass: null,
  queueExists: null,
  workload: null,
  place: null,
  waitedMs: 5_000,
  ...change,
});
const waiting = (reason: string, message = 'details') => queueState({ workload: aWorkload([{ type: 'QuotaReserved', reason, message }]) });

test.each([
  ['WaitingForQuota', 'its quota is used up: details'],
  ['NoMatchingFlavor', 'no flavor of its ClusterQueue suits its pod: details'],
  ['ExceedsMaxQuota', 'its pod requests more than the whole quota: details'],
  ['TopologyPlacementFailed', 'no machine of the topology can hold its pod now: details'],
  ['WaitingForPreemptedWorkloads', 'others are making room for it: details'],
  ['Misconfigured', 'its queue is wrongly configured: details'],
  ['Inadmissible', 'its queue does not accept it: details'],
  ['Pending', 'details'],
])('reason %s reads: %s', (reason, words) => {
  expect(queuedMessage(waiting(reason))).toBe(`LocalQueue gpus of namespace training; ${words}`);
});

test('the place in the queue is reported, counted from 1', () => {
  expect(queuedMessage({ ...waiting('WaitingForQuota', ''), place: { inLocalQueue: 2, inClusterQueue: 6 } })).toBe(
    'place 3 in LocalQueue gpus of namespace training, 7 in its ClusterQueue; its quota is used up',
  );
});

test('what Kueue has not reported yet is not guessed', () => {
  expect(queuedMessage(queueState({}))).toBe('');
  expect(queuedMessage(queueState({ workload: aWorkload([]) }))).toBe('LocalQueue gpus of namespace training');
});

test('a missing queue is named; so is a Kueue that does not pick Jobs up', () => {
  expect(queuedMessage(queueState({ queueExists: false }))).toBe('namespace training has no LocalQueue gpus');
  expect(queuedMessage(queueState({ queueExists: true, waitedMs: 61_000 }))).toMatch(/^Kueue has not picked it up: it is not running/);
  expect(queuedMessage(queueState({ queueExists: true, waitedMs: 61_000, priorityClass: 'high' }))).toMatch(
    /does not manage namespace training, or has no WorkloadPriorityClass high$/,
  );
});

test('a reserved quota waits for its admission checks', () => {
  const reserved: WorkloadCondition = { type: 'QuotaReserved', status: 'True', reason: 'QuotaReserved' };
  const checks = [
    { name: 'budget', state: 'Ready' },
    { name: 'nodes', state: 'Pending', message: 'provisioning' },
  ];
  expect(queuedMessage(queueState({ workload: aWorkload([reserved], checks) }))).toMatch(
    /; its quota is reserved, and it waits for the admission check nodes \(provisioning\)$/,
  );
});

test('an eviction by preemption or a failed node ends the attempt; another cause sends it back to the queue, which says so, unless its pod has ended', () => {
  const evicted = (reason: string) => aWorkload([{ type: 'Evicted', status: 'True', reason, message: 'for a' }]);
  const [waits, over] = [{ hasEnded: false }, { hasEnded: true }];
  const since = Date.parse(at(5));
  expect(evictedFor(evicted('Preempted'), waits)).toEqual({ signal: 'preempted', since, message: 'Kueue evicted it: for a' });
  expect(evictedFor(evicted('NodeFailures'), waits)).toMatchObject({ signal: 'node_lost' });
  expect(evictedFor(evicted('ClusterQueueStopped'), waits)).toBeNull();
  expect(evictedFor(evicted('ClusterQueueStopped'), over)).toEqual({ signal: 'drained', since, message: 'Kueue evicted it: for a' });
  // Perhaps because of its image: that must not be retried without end.
  for (const reason of ['PodsReadyTimeout', 'DeactivatedDueToRequeuingLimitExceeded']) {
    expect(evictedFor(evicted(reason), over)).toMatchObject({ signal: 'pod_gone' });
  }
  expect(evictedFor(aWorkload([{ type: 'Evicted', status: 'False', reason: 'Preempted' }]), over)).toBeNull();
  expect(evictedFor(null, over)).toBeNull();
  expect(queuedMessage(queueState({ workload: evicted('ClusterQueueStopped') }))).toMatch(/; its ClusterQueue is stopped: for a$/);
  for (const reason of ['Deactivated', 'DeactivatedDueToRequeuingLimitExceeded']) {
    expect(queuedMessage(queueState({ workload: evicted(reason) }))).toMatch(/; it was deactivated, and waits until .*: for a$/);
  }
});

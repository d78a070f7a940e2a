import { expect, test } from 'vitest';
import { attemptMemory } from './attempt-memory.ts';
import { aPod } from './testing/objects.ts';

const attempt = (generation = 1) => ({ attemptId: 'att_1', generation });
const ended = aPod({ phase: 'Failed' });

test('the last of a pod outlives it, until its attempt is forgotten', () => {
  const memory = attemptMemory();
  memory.ended(attempt(), ended);
  expect(memory.endedPod(attempt())).toBe(ended);
  memory.forget('att_1');
  expect(memory.endedPods()).toEqual([]);
  // Kubernetes still tells of the pod while it removes it.
  memory.ended(attempt(), ended);
  expect(memory.endedPods()).toEqual([]);
});

test('a newer generation is not taken for ended because an older one is told of late', () => {
  const memory = attemptMemory();
  memory.ended(attempt(1), ended);
  memory.begin(attempt(2));
  memory.ended(attempt(1), ended);
  expect(memory.endedPods()).toEqual([]);
  expect(memory.endedPod(attempt(2))).toBeNull();
});

test('a change is one of the phase, not of every field', () => {
  const memory = attemptMemory();
  const pending = aPod({ phase: 'Pending', containerStatuses: [{ name: 'agent', state: { waiting: { reason: 'ContainerCreating' } } }] });
  const pulling = aPod({ phase: 'Pending', containerStatuses: [{ name: 'agent', state: { waiting: { reason: 'ErrImagePull' } } }] });
  expect([pending, pending, pulling, ended, ended].map((pod) => memory.changed(attempt(), pod))).toEqual([true, false, true, true, false]);
});

test('a sign that comes and goes keeps the time of its first sight', () => {
  const memory = attemptMemory();
  const first = memory.firstSeen(attempt(), 'image_pull');
  memory.firstSeen(attempt(), 'image_registry_busy');
  expect(memory.firstSeen(attempt(), 'image_pull')).toBe(first);
});

test('why a Job has no pod is asked once for a while', async () => {
  const memory = attemptMemory();
  let asked = 0;
  const ask = async () => `answer ${++asked}`;
  expect([await memory.podlessWhy(attempt(), ask), await memory.podlessWhy(attempt(), ask)]).toEqual(['answer 1', 'answer 1']);
});

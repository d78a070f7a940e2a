import { expect, test } from 'vitest';
import { attemptMemory } from './attempt-memory.ts';
import { aPod } from './testing/objects.ts';

const attempt = (generation = 1) => ({ attemptId: 'att_1', generation });
const ended = aPod({ phase: 'Failed' });

test('the last state of a pod outlives it, until its attempt is forgotten', () => {
  const memory = attemptMemory();
  memory.ended(attempt(), ended);
  expect(memory.endedPod(attempt())).toBe(ended);
  memory.forget('att_1');
  expect(memory.endedPods()).toEqual([]);
  // Kubernetes still reports the pod while it removes it.
  memory.ended(attempt(), ended);
  expect(memory.endedPods()).toEqual([]);
});

test('a late report of an older generation does not end the newer one', () => {
  const memory = attemptMemory();
  memory.ended(attempt(1), ended);
  memory.begin(attempt(2));
  memory.ended(attempt(1), ended);
  expect(memory.endedPods()).toEqual([]);
  expect(memory.endedPod(attempt(2))).toBeNull();
});

test('only a change of the phase counts as a change', () => {
  const memory = attemptMemory();
  const pending = aPod({ phase: 'Pending', containerStatuses: [{ name: 'agent', state: { waiting: { reason: 'ContainerCreating' } } }] });
  const pulling = aPod({ phase: 'Pending', containerStatuses: [{ name: 'agent', state: { waiting: { reason: 'ErrImagePull' } } }] });
  expect([pending, pending, pulling, ended, ended].map((pod) => memory.changed(attempt(), pod))).toEqual([true, false, true, true, false]);
});

test('an intermittent finding keeps the time it was first seen', () => {
  const memory = attemptMemory();
  const first = memory.firstSeen(attempt(), 'image_pull');
  memory.firstSeen(attempt(), 'image_registry_busy');
  expect(memory.firstSeen(attempt(), 'image_pull')).toBe(first);
});

test('the reason why a Job has no pod is cached for a while', async () => {
  const memory = attemptMemory();
  let asked = 0;
  const ask = async () => `answer ${++asked}`;
  expect([await memory.podlessWhy(attempt(), ask), await memory.podlessWhy(attempt(), ask)]).toEqual(['answer 1', 'answer 1']);
});

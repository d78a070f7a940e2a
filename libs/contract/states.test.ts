import { expect, test } from 'vitest';
import {
  allowsAction,
  attemptState,
  attemptStates,
  isEndedRun,
  isEndedStep,
  isLiveAttempt,
  mayFollow,
  runState,
  runStates,
  statesThatAllow,
  stepState,
  stepStates,
} from './states.ts';

/** The states that can be reached from one, itself among them. */
function reachable<S extends string>(table: Readonly<Record<S, { next: readonly S[] }>>, from: S): Set<S> {
  const found = new Set<S>([from]);
  for (const state of found) for (const next of table[state].next) found.add(next);
  return found;
}

test('every state can be reached from the first one', () => {
  expect([...reachable(runStates, 'held')].toSorted()).toEqual(runState.options.toSorted());
  expect([...reachable(stepStates, 'blocked')].toSorted()).toEqual(stepState.options.toSorted());
  expect([...reachable(attemptStates, 'created')].toSorted()).toEqual(attemptState.options.toSorted());
});

test('an ended attempt stays ended; an ended run or step starts again only by a retry', () => {
  for (const state of attemptState.options) if (!isLiveAttempt(state)) expect(attemptStates[state].next).toEqual([]);
  for (const state of runState.options) if (isEndedRun(state)) expect(runStates[state].next).toEqual(['running', 'held']);
  for (const state of stepState.options) if (isEndedStep(state)) expect(stepStates[state].next).toEqual(['blocked']);
});

test('a run can be cancelled until it ends, released while it is held, and retried after it ended', () => {
  expect(statesThatAllow('release')).toEqual(['held']);
  expect(statesThatAllow('cancel')).toEqual(['held', 'queued', 'running']);
  expect(statesThatAllow('retry')).toEqual(runState.options.filter(isEndedRun));
  for (const state of statesThatAllow('cancel')) expect(mayFollow(runStates, state, 'cancelling')).toBe(true);
  for (const state of statesThatAllow('retry')) expect(mayFollow(runStates, state, 'running')).toBe(true);
  expect(allowsAction('cancelling', 'cancel')).toBe(false);
});

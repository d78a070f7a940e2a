import { expect, test } from 'vitest';
import type { AdmissionView } from './waiting.ts';
import { needsAdmission, type StepSituation, waitingReasonOf } from './waiting-reason.ts';

const time = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second));
const idle = { starting: 0, startingSince: null, startingPool: null, finding: null, working: 0, succeeded: 0, lastEndedAt: null };
const ready: StepSituation = {
  stepId: 'stp_1',
  state: 'ready',
  runState: 'running',
  createdAt: time(1),
  readyAt: time(2),
  needs: [],
  builder: null,
  attempts: idle,
  isComplete: false,
};
const admission = (reasons: AdmissionView['reasons'] = new Map(), isAlive = true): AdmissionView => ({
  waiting: { waiting: [], running: [], pools: [] },
  reasons,
  leader: { holder: 'controller-a', epoch: 1, expiresAt: time(5), isAlive },
  takenAt: 0,
});
const since = (second: number) => time(second).toISOString();

test('a blocked step names the steps that it waits for and their states', () => {
  const needs = [
    { name: 'prepare', state: 'succeeded' },
    { name: '384', state: 'active' },
    { name: 'export', state: 'ready' },
  ] as const;
  expect(waitingReasonOf({ ...ready, state: 'blocked', readyAt: null, needs }, null)).toEqual({
    code: 'dependencies',
    sentence: 'waiting for 384 (running) and export (waiting)',
    since: since(1),
  });
});

test('a ready step has the reason that admission gives', () => {
  const reasons: AdmissionView['reasons'] = new Map([['stp_1', { code: 'behind', sentence: 'waiting behind 512 of big' }]]);
  expect(waitingReasonOf(ready, admission(reasons))).toEqual({
    code: 'behind',
    sentence: 'waiting behind 512 of big (since 2026-01-01 00:00 UTC)',
    since: since(2),
  });
});

test('a ready step that fits is started next', () => {
  expect(waitingReasonOf(ready, admission())).toMatchObject({ code: 'launching', since: since(2) });
});

test('a reason that passes by itself in a moment has no start time', () => {
  const sentence = 'the controller has not reported its pools yet';
  const reasons: AdmissionView['reasons'] = new Map([['stp_1', { code: 'launching', sentence }]]);
  expect(waitingReasonOf(ready, admission(reasons))).toEqual({ code: 'launching', sentence, since: since(2) });
});

test('without a running controller nothing is started, even if slots are free', () => {
  expect(waitingReasonOf(ready, admission(new Map(), false))).toEqual({
    code: 'no-leader',
    sentence: 'no controller is running, so nothing is started; the last one was controller-a',
    since: since(5),
  });
});

test('before the first controller has reported, that is the reason', () => {
  const none = { holder: '', epoch: 0, expiresAt: new Date(0), isAlive: false };
  expect(waitingReasonOf(ready, { ...admission(), leader: none })).toEqual({
    code: 'no-leader',
    sentence: 'no controller has reported yet, so nothing is started',
    since: since(2),
  });
});

test('a step whose result another run is building names the run and the step', () => {
  const builder = { runId: 'run_2', runName: 'mini-2', stepName: '384' };
  expect(waitingReasonOf({ ...ready, builder }, null)).toMatchObject({
    code: 'same-result-building',
    sentence: '384 of run mini-2 (run_2) is building the same result',
  });
});

test('a step whose attempt is starting is launching since the attempt was created', () => {
  const attempts = { ...idle, starting: 1, startingSince: time(4), startingPool: 'local' };
  expect(waitingReasonOf({ ...ready, state: 'active', attempts }, null)).toEqual({
    code: 'launching',
    sentence: 'an attempt is being started on pool local',
    since: since(4),
  });
});

test('a step whose pod waits says why, in the words of the failure table, and since when', () => {
  const finding = { code: 'unschedulable', message: 'no node can hold its pod now: 0/2 nodes are available', since: since(6) };
  const attempts = { ...idle, starting: 1, startingSince: time(4), startingPool: 'gpus', finding };
  expect(waitingReasonOf({ ...ready, state: 'active', attempts }, null)).toEqual({
    code: 'pending',
    sentence: 'no node can hold its pod now: 0/2 nodes are available (since 2026-01-01 00:00 UTC)',
    since: since(6),
  });
  expect(waitingReasonOf({ ...ready, state: 'active', attempts: { ...attempts, starting: 0, working: 1 } }, null)).toBeNull();
});

test('a complete step is being finalized, even while attempts of its fleet are still ending', () => {
  const attempts = { ...idle, working: 1, lastEndedAt: time(9) };
  expect(waitingReasonOf({ ...ready, state: 'active', attempts, isComplete: true }, null)).toMatchObject({
    code: 'finalizing',
    since: since(9),
  });
});

test.each<[string, Partial<StepSituation>]>([
  ['is running', { state: 'active', attempts: { ...idle, working: 1 } }],
  ['succeeded', { state: 'succeeded' }],
  ['was reused', { state: 'reused' }],
  ['failed', { state: 'failed' }],
  ['belongs to a run that is being cancelled', { runState: 'cancelling', state: 'blocked' }],
])('a step that %s does not wait', (_, over) => {
  expect(waitingReasonOf({ ...ready, ...over }, admission())).toBeNull();
});

test('only a step that may wait for slots needs the admission view', () => {
  expect(needsAdmission(ready)).toBe(true);
  expect(needsAdmission({ ...ready, state: 'active' })).toBe(true);
  expect(needsAdmission({ ...ready, state: 'blocked' })).toBe(false);
  expect(needsAdmission({ ...ready, attempts: { ...idle, starting: 1 } })).toBe(false);
  expect(needsAdmission({ ...ready, state: 'active', attempts: { ...idle, working: 1 } })).toBe(false);
  expect(needsAdmission({ ...ready, builder: { runId: '', runName: '', stepName: '' } })).toBe(false);
  expect(needsAdmission({ ...ready, runState: 'cancelling' })).toBe(false);
});

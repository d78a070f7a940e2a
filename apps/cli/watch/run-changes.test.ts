import type { StepView } from '@cairn/contract';
import { expect, test } from 'vitest';
import { createStyle, glyphsFor } from '../output/style.ts';
import { aMiniRun, aMinuteLater } from '../testing/a-mini-run.ts';
import { runChanges } from './run-changes.ts';
import type { WatchState } from './step-text.ts';

const options = {
  style: createStyle(false),
  glyphs: glyphsFor({ LANG: 'C.UTF-8' }),
  now: aMinuteLater,
  previousAt: aMinuteLater,
  clock: (at: Date): string => at.toISOString().slice(11, 19),
};
const state = (over: Parameters<typeof aMiniRun>[0] = {}, steps: Record<string, Partial<StepView>> = {}): WatchState => ({
  run: aMiniRun(over, steps),
  metrics: new Map([['384_finetune', { loss: 3.412 }]]),
  notes: new Map(),
  connection: 'live',
});
const changes = (before: WatchState | null, after: WatchState): string[] => runChanges(before, after, options);

test('the first state prints the run and every step that is not blocked', () => {
  expect(changes(null, state())).toEqual([
    '03:05:05  mini-1         running, mini on mini@1, 5 steps',
    '03:05:05  prepare        reused  from mini-0',
    '03:05:05  384            succeeded  48 s  mAP@100 21.7 % → 68.3 %',
    '03:05:05  384_finetune   active',
    '03:05:05  extract_index  active  attempt 2',
  ]);
});

test('the same state again, and small progress, print nothing', () => {
  const tick = state(
    {},
    { '384_finetune': { progress: { done: 27, total: 50, unit: 'steps', rate: 64, rateUnit: 'images', etaSeconds: 11, message: '' } } },
  );
  expect(changes(state(), state())).toEqual([]);
  expect(changes(state(), tick)).toEqual([]);
});

test('each quarter of the progress is one line', () => {
  const later = state(
    {},
    { '384_finetune': { progress: { done: 38, total: 50, unit: 'steps', rate: 64, rateUnit: 'images', etaSeconds: 6, message: '' } } },
  );
  expect(changes(state(), later)).toEqual(['03:05:05  384_finetune   75 %  loss 3.41  64.0 img/s  eta 6 s  38/50 steps']);
  const atTheEnd = state(
    {},
    { '384_finetune': { progress: { done: 50, total: 50, unit: 'steps', rate: 64, rateUnit: 'images', etaSeconds: 0, message: '' } } },
  );
  expect(changes(later, atTheEnd)).toEqual([]);
});

test('a long step prints its progress every two minutes', () => {
  const progress = { done: 27, total: 50, unit: 'steps' as const, rate: 64, rateUnit: 'images' as const, etaSeconds: 11, message: '' };
  const startedAt = new Date(aMinuteLater.getTime() - 241_000).toISOString();
  const look = state({}, { '384_finetune': { startedAt, progress } });
  const changesAfter = (secondsAgo: number) =>
    runChanges(look, look, { ...options, previousAt: new Date(aMinuteLater.getTime() - secondsAgo * 1000) });
  expect(changesAfter(1)).toEqual([]);
  expect(changesAfter(2)).toEqual(['03:05:05  384_finetune   54 %  loss 3.41  64.0 img/s  eta 11 s  27/50 steps']);
});

test('a new attempt, a new reason to wait and a failure are printed once', () => {
  const waiting = { code: 'backoff' as const, sentence: 'retries in 10 s', since: aMinuteLater.toISOString() };
  const after = state({}, { '384_finetune': { attempts: 2 }, '512_finetune': { state: 'ready', waiting } });
  expect(changes(state(), after)).toEqual(['03:05:05  384_finetune   attempt 2', '03:05:05  512_finetune   ready  retries in 10 s']);
  expect(changes(after, after)).toEqual([]);
  const sooner = state(
    {},
    { '384_finetune': { attempts: 2 }, '512_finetune': { state: 'ready', waiting: { ...waiting, sentence: 'retries in 9 s' } } },
  );
  expect(changes(after, sooner)).toEqual([]);
  const crowded = { code: 'capacity' as const, sentence: 'needs 2 slots', since: waiting.since };
  const waitingFor = (reason: StepView['waiting']) =>
    state({}, { '384_finetune': { attempts: 2 }, '512_finetune': { state: 'ready', waiting: reason } });
  expect(changes(after, waitingFor(crowded))).toEqual(['03:05:05  512_finetune   needs 2 slots']);
  // Who holds the places, or waits for them too, changes every second while several fleets run.
  const behind = { code: 'behind' as const, sentence: 'waiting behind 384', since: waiting.since };
  expect(changes(waitingFor(crowded), waitingFor(behind))).toEqual([]);
  expect(changes(waitingFor(behind), waitingFor({ ...behind, sentence: 'waiting behind others' }))).toEqual([]);
  const failure = { cause: 'gpu' as const, code: 'program_failed', message: 'torchrun ended\nCUDA error' };
  expect(changes(after, state({ state: 'failed' }, { '384_finetune': { state: 'failed', failure, attempts: 2 } })).slice(0, 3)).toEqual([
    '03:05:05  mini-1         failed',
    '03:05:05  384_finetune   failed  384_finetune failed (gpu, program_failed): torchrun ended',
    '03:05:05  384_finetune     CUDA error',
  ]);
});

test('waiting for earlier steps prints nothing', () => {
  const waiting = { code: 'dependencies' as const, sentence: 'waits for 384 and 384_finetune', since: aMinuteLater.toISOString() };
  expect(changes(state(), state({}, { '512_finetune': { waiting } }))).toEqual([]);
});

test('a step that waits for a retry prints once why its last attempt failed', () => {
  const waiting = { code: 'backoff' as const, sentence: 'retries in 1 s', since: aMinuteLater.toISOString() };
  const failure = { cause: 'infrastructure' as const, code: 'program_failed', message: 'the agent was killed\nlong trace' };
  const again = state({}, { '384_finetune': { state: 'ready', waiting, failure, attempts: 1 } });
  expect(changes(state(), again)).toEqual([
    '03:05:05  384_finetune   ready  retries in 1 s',
    '03:05:05  384_finetune   the last attempt failed (infrastructure): the agent was killed',
  ]);
  expect(changes(again, state({}, { '384_finetune': { failure, attempts: 2 } }))).toEqual(['03:05:05  384_finetune   active  attempt 2']);
});

test('a lost connection and its return are printed', () => {
  const lost: WatchState = { ...state(), connection: 'lost' };
  expect(changes(state(), lost)).toEqual(['03:05:05  mini-1         the service does not answer; retrying']);
  expect(changes(lost, state())).toEqual(['03:05:05  mini-1         the service answers again']);
});

test('a warning of an active step is one line, and so is the note after it', () => {
  const noted = (seq: number, level: 'info' | 'warning', message: string): WatchState => ({
    ...state(),
    notes: new Map([['384_finetune', { seq, level, message }]]),
  });
  const [begun, full, over] = [noted(3, 'info', 'Training'), noted(7, 'warning', 'Waiting for the storage'), noted(9, 'info', 'Stored')];
  expect(changes(state(), begun)).toEqual([]);
  expect(changes(begun, full)).toEqual(['03:05:05  384_finetune   Waiting for the storage']);
  expect(changes(full, full)).toEqual([]);
  expect(changes(full, over)).toEqual(['03:05:05  384_finetune   Stored']);
});

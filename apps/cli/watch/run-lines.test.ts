import type { RunView } from '@cairn/contract';
import { expect, test } from 'vitest';
import { createStyle, glyphsFor } from '../output/style.ts';
import { visibleWidth } from '../output/table.ts';
import { aMiniRun, aMinuteLater } from '../testing/a-mini-run.ts';
import { runLines, type ViewOptions } from './run-lines.ts';
import type { WatchState } from './step-text.ts';

const options: ViewOptions = {
  style: createStyle(false),
  glyphs: glyphsFor({ LANG: 'C.UTF-8' }),
  now: aMinuteLater,
  width: 120,
  height: 40,
  tick: 0,
};
const stateOf = (run: RunView, over: Partial<WatchState> = {}): WatchState => ({
  run,
  metrics: new Map([['384_finetune', { loss: 3.412 }]]),
  notes: new Map(),
  connection: 'live',
  ...over,
});

test('a run is shown with a line for each step: state, time, bar, shards, loss, rate, remaining time, why it waits', () => {
  expect(runLines(stateOf(aMiniRun()), options)).toEqual([
    'mini-1  running · 1 min 00 s · 2 of 5 steps, 1 reused · mini on mini@1',
    '',
    '↺ prepare                     reused  from mini-0',
    '✔ 384                   48 s  mAP@100 21.7 % → 68.3 %',
    '⠋ 384_finetune           8 s  ━━━━━━━━━━──────────  52 %  loss 3.41  65.9 img/s  eta 12 s  26/50 steps',
    '· 512_finetune                waits for 384_finetune',
    '⠋ extract_index          8 s  ━━━━━━━━━━━━━━──────  70 %  5/8 shards  68.0 img/s  eta 3 s  350/500 images',
  ]);
});

test.each(['constructor', 'toString'])('a step named %s has no loss and no note before it reported any', (name) => {
  const run = aMiniRun();
  const named = { ...run, stepViews: run.stepViews.map((step) => (step.name === '384_finetune' ? { ...step, name } : step)) };
  const lines = runLines(stateOf(named), options).join('\n');
  expect(lines).toContain(name);
  expect(lines).not.toMatch(/loss|function|undefined/);
});

test('no line is wider than the terminal; the most important parts are kept', () => {
  for (const width of [30, 50, 72]) {
    const lines = runLines(stateOf(aMiniRun()), { ...options, width });
    expect(lines.every((line) => visibleWidth(line) < width)).toBe(true);
  }
  const narrow = runLines(stateOf(aMiniRun()), { ...options, width: 72 });
  expect(narrow[4]).toBe('⠋ 384_finetune           8 s  ━━━━━━━━━━──────────  52 %  loss 3.41');
});

test('where steps do not fit the height, finished ones are folded first', () => {
  const lines = runLines(stateOf(aMiniRun()), { ...options, height: 7 });
  expect(lines.slice(2).map((line) => line.slice(0, 20).trim())).toEqual([
    '2 steps not shown',
    '⠋ 384_finetune',
    '· 512_finetune',
    '⠋ extract_index',
  ]);
});

test('without a loss the message of the step is shown, and images per second come from steps and batch', () => {
  const lines = runLines(stateOf(aMiniRun(), { metrics: new Map() }), options);
  expect(lines[4]).toContain('52 %  65.9 img/s  eta 12 s  26/50 steps  epoch 2 of 4');
});

test('a failed step shows its cause, code, the end of its message and what to do', () => {
  const failure = { cause: 'data' as const, code: 'too_many_bad_images', message: 'Too many images cannot be read\n3 of 10' };
  const run = aMiniRun({ state: 'failed', finishedAt: aMinuteLater.toISOString() }, { '384_finetune': { state: 'failed', failure } });
  const lines = runLines(stateOf(run), options);
  expect(lines[4]).toMatch(/^✖ 384_finetune +8 s {2}failed$/);
  expect(lines.slice(-3)).toEqual([
    '384_finetune failed (data, too_many_bad_images): Too many images cannot be read',
    '  3 of 10',
    '  hint: Fix or remove the images that the message or the log names, or raise `maxBadImageShare`.',
  ]);
});

test('a ready step says why it waits, an active one without progress that it starts', () => {
  const waiting = { code: 'capacity' as const, sentence: 'needs 2 slots; 1 of 2 is free', since: aMinuteLater.toISOString() };
  const run = aMiniRun({}, { '512_finetune': { state: 'ready', waiting }, '384_finetune': { progress: null } });
  const lines = runLines(stateOf(run, { metrics: new Map() }), options);
  expect(lines[5]).toContain('needs 2 slots; 1 of 2 is free');
  expect(lines[4]).toMatch(/starting$/);
});

test('a lost connection is shown, and that the run continues', () => {
  expect(runLines(stateOf(aMiniRun(), { connection: 'lost' }), options).at(-1)).toContain('The run continues without this view.');
});

test('the symbols of active steps spin, and are ASCII where the terminal supports no others', () => {
  const turned = runLines(stateOf(aMiniRun()), { ...options, tick: 1 });
  expect(turned[4]?.startsWith('⠙')).toBe(true);
  const plain = runLines(stateOf(aMiniRun()), { ...options, glyphs: glyphsFor({ LANG: 'C' }) }).join('\n');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the whole of ASCII
  expect(plain).toMatch(/^[\x00-\x7f]+$/);
});

test('the warning of an active step is shown below, that of a finished one is not', () => {
  const note = { seq: 4, level: 'warning' as const, message: 'Waiting for the storage' };
  const lines = runLines(
    stateOf(aMiniRun(), {
      notes: new Map(Object.entries({ '384': note, '384_finetune': note, extract_index: { ...note, level: 'info' as const } })),
    }),
    options,
  );
  expect(lines.slice(-2)).toEqual(['', '384_finetune: Waiting for the storage']);
});

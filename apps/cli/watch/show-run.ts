import type { CairnClient } from '@cairn/client';
import type { RunView } from '@cairn/contract';
import { createLiveScreen } from '../output/live-screen.ts';
import type { Ui } from '../output/ui.ts';
import { runChanges } from './run-changes.ts';
import { endLines, runLines } from './run-lines.ts';
import { watchRun } from './watch-run.ts';
import type { WatchState } from './watch-state.ts';

export type ShowRunOptions = { client: CairnClient; runId: string; ui: Ui; signal: AbortSignal; now: () => Date };

/** Shows a run until it is over, in the way that suits the output, and returns its last state. */
export async function showRun(options: ShowRunOptions): Promise<RunView> {
  const states = watchRun(options.client, options.runId, { signal: options.signal });
  if (options.ui.isJson) return printJsonLines(states, options);
  return options.ui.isTerminal ? drawLive(states, options) : printChanges(states, options);
}

/** Between two states, the times and symbols of active steps are updated. */
const redrawMs = 250;

async function drawLive(states: AsyncGenerator<WatchState>, { ui, now }: ShowRunOptions): Promise<RunView> {
  const { stdout, style, glyphs } = ui;
  const screen = createLiveScreen(stdout);
  let shown: WatchState | null = null;
  let tick = 0;
  const draw = (): void => {
    if (shown === null) return;
    const size = { width: stdout.columns ?? 80, height: stdout.rows ?? 24 };
    screen.draw(runLines(shown, { style, glyphs, now: now(), tick, ...size }));
  };
  const timer = setInterval(() => {
    tick += 1;
    draw();
  }, redrawMs);
  stdout.on('resize', draw);
  try {
    for await (const state of states) {
      shown = state;
      draw();
    }
  } finally {
    clearInterval(timer);
    stdout.off('resize', draw);
    screen.close();
  }
  return ended(shown, ui, now);
}

async function printChanges(states: AsyncGenerator<WatchState>, { ui, now }: ShowRunOptions): Promise<RunView> {
  const { style, glyphs } = ui;
  let before: WatchState | null = null;
  let previousAt: Date | null = null;
  for await (const state of states) {
    const at = now();
    for (const line of runChanges(before, state, { style, glyphs, now: at, previousAt, clock })) ui.line(line);
    [before, previousAt] = [state, at];
  }
  return ended(before, ui, now);
}

/** `{"type":"run"}` at the beginning and the end, `{"type":"event"}` without gaps, `{"type":"step"}` when one has changed. */
async function printJsonLines(states: AsyncGenerator<WatchState>, { client, runId, ui, signal }: ShowRunOptions): Promise<RunView> {
  const steps = new Map<string, string>();
  let after = 0;
  let last: WatchState | null = null;
  for await (const state of states) {
    const { run } = state;
    if (last === null) ui.jsonLine({ type: 'run', run });
    while (after < run.seq) {
      const page = await client.listRunEvents(runId, { after, limit: 200 }, { signal });
      for (const event of page.items) ui.jsonLine({ type: 'event', event });
      const newest = page.items.at(-1)?.seq;
      if (newest === undefined) break;
      after = newest;
    }
    for (const step of run.stepViews) {
      const { name, state: stepState, waiting, progress, shards, scores, attempts } = step;
      const line = { type: 'step', step: name, state: stepState, waiting, progress, shards, scores, attempts };
      const text = JSON.stringify(line);
      if (last !== null && steps.get(name) !== text) ui.jsonLine(line);
      steps.set(name, text);
    }
    last = state;
  }
  const run = ended(last, ui, () => new Date());
  ui.jsonLine({ type: 'run', run });
  return run;
}

function ended(state: WatchState | null, ui: Ui, now: () => Date): RunView {
  if (state === null) throw new Error('a watched run has no state');
  for (const line of endLines(state, { style: ui.style, glyphs: ui.glyphs, now: now() })) ui.line(line);
  return state.run;
}

function clock(at: Date): string {
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

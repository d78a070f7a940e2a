import { type CairnClient, wait } from '@cairn/client';
import { awaitsVerdict, isCairnError, isEndedRun, type RunView } from '@cairn/contract';
import { createLiveScreen } from '../output/live-screen.ts';
import type { Ui } from '../output/ui.ts';
import { runChanges } from './run-changes.ts';
import { endLines, runLines } from './run-lines.ts';
import { notesOf, type StepMetrics, type StepNote, type WatchState } from './step-text.ts';

type ShowRunOptions = { client: CairnClient; runId: string; ui: Ui; signal: AbortSignal; now: () => Date };

/** Shows a run until it is over and its gate is judged, in the way that suits the output, and returns its last state. */
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

type WatchOptions = {
  signal: AbortSignal;
  /** At most one fetch in this time, however many hints come; 400 ms by default. */
  minMs?: number;
  /** At least one fetch in this time, in case a hint is lost; 15 s by default. */
  maxMs?: number;
};

/** While the event stream is away, nothing signals when to fetch. */
const withoutStreamMs = 2_000;

/**
 * The states of a run as they change, the first at once, the last when the run is over and its gate judged. The event stream signals when to
 * fetch again; several hints together are one fetch. Throws CairnError when the service refuses, the signal's reason when
 * aborted; an outage is only shown, as `connection: 'lost'`.
 */
export async function* watchRun(client: CairnClient, runId: string, options: WatchOptions): AsyncGenerator<WatchState, void, void> {
  const { minMs = 400, maxMs = 15_000 } = options;
  const mine = new AbortController();
  const signal = AbortSignal.any([options.signal, mine.signal]);
  const bell = createBell();
  let isStreaming = false;

  async function listen(): Promise<void> {
    const onConnection = ({ state }: { state: 'open' | 'lost' }): void => {
      isStreaming = state === 'open';
      // Hints of the time in between are lost.
      bell.ring();
    };
    for await (const _message of client.events({ topics: [`run:${runId}`], signal, onConnection })) bell.ring();
  }
  // A refused stream ends every other wait with its error.
  const listening = listen().catch((error: unknown) => mine.abort(error));

  let last: WatchState | null = null;
  try {
    for (;;) {
      last = await fetchState(client, runId, last, signal);
      yield last;
      if (isEndedRun(last.run.state) && !awaitsVerdict(last.run)) return;
      await wait(minMs, signal);
      await bell.next(isStreaming ? maxMs : withoutStreamMs, signal);
    }
  } finally {
    mine.abort();
    await listening;
  }
}

/** Fetches the run; when the service does not answer, returns the last state with its connection lost. */
async function fetchState(client: CairnClient, runId: string, last: WatchState | null, signal: AbortSignal): Promise<WatchState> {
  try {
    const run = await client.getRun(runId, { signal, timeoutMs: 10_000 });
    const [metrics, notes] = await Promise.all([trainingMetrics(client, run, signal), newNotes(client, run, last?.run.seq ?? 0, signal)]);
    return {
      run,
      metrics: new Map([...(last?.metrics ?? []), ...metrics]),
      notes: new Map([...(last?.notes ?? []), ...notes]),
      connection: 'live',
    };
  } catch (error) {
    if (last === null || !isCairnError(error, 'unavailable', 'rate_limited')) throw error;
    return { ...last, connection: 'lost' };
  }
}

/** The loss of the training steps that are active now. */
async function trainingMetrics(client: CairnClient, run: RunView, signal: AbortSignal): Promise<Map<string, StepMetrics>> {
  const training = run.stepViews.filter((step) => step.kind === 'train' && step.state === 'active' && step.progress !== null);
  const entries = training.map(async ({ name }): Promise<[string, StepMetrics]> => {
    const { series } = await client.getMetrics(run.id, name, { names: 'loss', maxPoints: 2 }, { signal, timeoutMs: 10_000 });
    return [name, { loss: series.find((one) => one.name === 'loss')?.values.at(-1) ?? null }];
  });
  return new Map(await Promise.all(entries));
}

/** The notes since event `after`, from the newest page only. */
export async function newNotes(client: CairnClient, run: RunView, after: number, signal: AbortSignal): Promise<Map<string, StepNote>> {
  if (run.seq <= after) return new Map();
  const page = await client.listRunEvents(run.id, { after: Math.max(after, run.seq - 200), limit: 200 }, { signal, timeoutMs: 10_000 });
  return notesOf(page.items);
}

/** A bell that remembers a ring until a waiter has consumed it. */
function createBell() {
  let isRung = false;
  let wake: (() => void) | null = null;
  return {
    ring: (): void => {
      isRung = true;
      wake?.();
    },
    /** Resolves at the next ring, or at once after one that was not consumed; at the latest after `maxMs`. */
    next: async (maxMs: number, signal: AbortSignal): Promise<void> => {
      if (!isRung) {
        const over = new AbortController();
        const rung = new Promise<void>((resolve) => {
          wake = resolve;
        });
        await Promise.race([rung, wait(maxMs, AbortSignal.any([signal, over.signal]))]).finally(() => over.abort());
        wake = null;
      }
      isRung = false;
    },
  };
}

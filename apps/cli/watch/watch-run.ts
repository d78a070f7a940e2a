import { type CairnClient, wait } from '@cairn/client';
import { isCairnError, isEndedRun, type RunView } from '@cairn/contract';
import { notesOf } from './step-text.ts';
import type { StepMetrics, StepNote, WatchState } from './watch-state.ts';

export type WatchOptions = {
  signal: AbortSignal;
  /** At most one fetch in this time, however many hints come; 400 ms by default. */
  minMs?: number;
  /** At least one fetch in this time, in case a hint is lost; 15 s by default. */
  maxMs?: number;
};

/** While the event stream is away, nothing signals when to fetch. */
const withoutStreamMs = 2_000;

/**
 * The states of a run as they change, the first at once, the last when the run is over. The event stream signals when to
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
      if (isEndedRun(last.run.state)) return;
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

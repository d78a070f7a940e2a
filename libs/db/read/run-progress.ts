import { type FailureView, isDoneStep, type ProgressView, type RunListItem, type RunState, type StepState } from '@cairn/contract';

/** A step as far as its run's progress needs it. */
export type ProgressStep = {
  name: string;
  state: StepState;
  progress: ProgressView | null;
  shards: { total: number; committed: number } | null;
  failure: FailureView | null;
  /** Why it waits; null when it does not. */
  waiting: { sentence: string } | null;
};

/** How far a run is, and what it does now in one sentence. Pure. */
export function progressOf(
  run: { state: RunState; cause: string | null; held: { sentence: string } | null },
  steps: readonly ProgressStep[],
): Pick<RunListItem, 'share' | 'now'> {
  const done = steps.reduce((sum, step) => sum + shareOf(step), 0);
  return { share: steps.length === 0 ? 0 : done / steps.length, now: nowOf(run, steps) };
}

function shareOf({ state, shards, progress }: ProgressStep): number {
  if (isDoneStep(state)) return 1;
  if (state !== 'active') return 0;
  if (shards !== null) return shards.total === 0 ? 0 : shards.committed / shards.total;
  return progress === null || progress.total <= 0 ? 0 : Math.min(1, Math.max(0, progress.done / progress.total));
}

const count = (value: number): string => Math.floor(value).toLocaleString('en-US');

/** For each state of a run: what it does now, from its steps. */
const sentences = {
  held: (_, __, held) => held?.sentence ?? 'is held',
  queued: sentenceOfLive,
  running: sentenceOfLive,
  cancelling: () => 'stops its attempts',
  succeeded: () => null,
  failed: (steps, cause) => {
    const failed = steps.find((step) => step.state === 'failed');
    const why = failed?.failure?.message.split('\n')[0] ?? cause;
    return failed === undefined ? cause : `${failed.name} failed${why === null || why === undefined ? '' : `: ${why}`}`;
  },
  cancelled: () => null,
} as const satisfies Record<
  RunState,
  (steps: readonly ProgressStep[], cause: string | null, held: { sentence: string } | null) => string | null
>;

function nowOf({ state, cause, held }: Parameters<typeof progressOf>[0], steps: readonly ProgressStep[]): string | null {
  return sentences[state](steps, cause, held);
}

function sentenceOfLive(steps: readonly ProgressStep[]): string | null {
  const working = steps.filter((step) => step.state === 'active' && step.waiting === null);
  const waiting = steps.filter((step) => step.state === 'ready' || (step.state === 'active' && step.waiting !== null));
  const [first, ...others] = [...working, ...waiting];
  if (first === undefined) return null;
  const more = others.length === 0 ? '' : `; and ${others.length} more ${others.length === 1 ? 'step' : 'steps'}`;
  return `${sentenceOf(first)}${more}`;
}

function sentenceOf({ name, state, shards, progress, waiting }: ProgressStep): string {
  if (waiting !== null) return `${name}: ${waiting.sentence}`;
  if (state === 'ready') return `${name} waits to be started`;
  if (shards !== null) return `${name}: ${count(shards.committed)} of ${count(shards.total)} shards`;
  if (progress === null || progress.total <= 0) return `${name} runs`;
  const message = progress.message === '' ? '' : `, ${progress.message}`;
  return `${name}: ${count(progress.done)} of ${count(progress.total)} ${progress.unit}${message}`;
}

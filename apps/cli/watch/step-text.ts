import type { ProgressView, RunEvent, RunState, RunView, StepState, StepView } from '@cairn/contract';
import type { Glyphs, Look, Paints } from '../output/style.ts';
import { formatCount, formatInterval, formatNumber, formatPercent, formatRunning, plural } from '../output/units.ts';

const stepPaint: Record<StepState, keyof Paints> = {
  blocked: 'dim',
  ready: 'dim',
  active: 'accent',
  succeeded: 'good',
  reused: 'good',
  failed: 'bad',
  cancelled: 'warn',
};

const runPaint: Record<RunState, keyof Paints> = {
  held: 'warn',
  queued: 'dim',
  running: 'accent',
  cancelling: 'warn',
  succeeded: 'good',
  failed: 'bad',
  cancelled: 'warn',
};

export function paintedRunState(state: RunState, { style }: Pick<Look, 'style'>): string {
  return style[runPaint[state]](state);
}

export function paintedStepState(state: StepState, { style }: Pick<Look, 'style'>): string {
  return style[stepPaint[state]](state);
}

/** The symbol of a step's state; that of an active one spins with `tick`. */
export function stepSign(state: StepState, { style, glyphs }: Look, tick = 0): string {
  const sign = state === 'active' ? (glyphs.active[tick % glyphs.active.length] ?? '') : glyphs[state];
  return style[stepPaint[state]](sign);
}

/** The progress of a step, 0 to 1: by its shards if it has any, else by its progress; null while unknown. */
export function shareDone(step: StepView): number | null {
  if (step.shards !== null && step.shards.total > 0) {
    // Shards count when they are committed; images show the progress in between.
    const byShards = step.shards.committed / step.shards.total;
    return step.progress === null || step.progress.total <= 0 ? byShards : Math.max(byShards, step.progress.done / step.progress.total);
  }
  return step.progress === null || step.progress.total <= 0 ? null : step.progress.done / step.progress.total;
}

/** The progress of an active step, the most important part first. */
export function progressParts(step: StepView, metrics: StepMetrics | undefined): string[] {
  const { progress, shards } = step;
  const eta = progress?.etaSeconds;
  const isLossKnown = metrics?.loss != null;
  return [
    ...(shards === null ? [] : [`${shards.committed}/${shards.total} shards`]),
    ...(isLossKnown ? [`loss ${formatNumber(metrics.loss ?? 0)}`] : []),
    ...(progress?.rate == null ? [] : [rateText(progress.rate, progress.rateUnit ?? progress.unit)]),
    ...(eta == null ? [] : [`eta ${formatRunning(eta)}`]),
    ...(progress === null || progress.total <= 0 ? [] : [`${formatCount(progress.done)}/${formatCount(progress.total)} ${progress.unit}`]),
    ...(progress === null || progress.message === '' || isLossKnown ? [] : [progress.message]),
  ];
}

const rateText = (rate: number, unit: ProgressView['unit']): string => `${formatNumber(rate)} ${unit === 'images' ? 'img' : unit}/s`;

/** The results of a finished step: scores, rows, where a result comes from. */
export function resultParts(step: StepView, { glyphs }: Pick<Look, 'glyphs'>): string[] {
  const { shards, reusedFrom } = step;
  const score = scoreText(step.scores, glyphs);
  const rejected = shards !== null && shards.rejected > 0 ? `, ${formatCount(shards.rejected)} rejected` : '';
  return [
    ...(reusedFrom === null ? [] : [`from ${reusedFrom.runName}`]),
    ...(score === null ? [] : [score]),
    ...(shards === null || shards.committed === 0
      ? []
      : [`${plural(shards.rows, 'row')} in ${plural(shards.committed, 'shard')}${rejected}`]),
    ...(step.attempts > 1 ? [`${step.attempts} attempts`] : []),
  ];
}

/** Scores of a step for people: `mAP@100 21.7 % → 68.3 %`, or with its interval `mAP@100 67.1 % (95 %: 60.2 to 73.5)`. Null when it has none. */
function scoreText(scores: Readonly<Record<string, number>>, glyphs: Pick<Glyphs, 'arrow'>): string | null {
  const start = scores['mapAt100.start'];
  const end = scores['mapAt100.end'] ?? scores.mapAt100;
  if (end === undefined) return start === undefined ? null : `mAP@100 ${formatPercent(start)} at the start`;
  const around = formatInterval(scores['mapAt100.low'], scores['mapAt100.high']);
  return `mAP@100 ${start === undefined ? '' : `${formatPercent(start)} ${glyphs.arrow} `}${formatPercent(end)}${around}`;
}

/** The newest note of each step among the events, ignoring notes about single images. */
export function notesOf(events: readonly RunEvent[]): Map<string, StepNote> {
  const notes = events.flatMap(({ seq, type, message, data }): [string, StepNote][] => {
    if (type !== 'note' || data.step === undefined || data.level === undefined) return [];
    return [[data.step, { seq, level: data.level, message: data.said ?? message }]];
  });
  return new Map(notes);
}

/** The newest metrics of a training step. */
export type StepMetrics = { loss: number | null };

/** The last note of a step's attempt about itself; a warning stays until the next note. */
export type StepNote = { seq: number; level: 'info' | 'warning'; message: string };

/** Everything that a view of a run shows. */
export type WatchState = {
  run: RunView;
  /** By step name; only of training steps that are active or were while watched. */
  metrics: ReadonlyMap<string, StepMetrics>;
  /** By step name. */
  notes: ReadonlyMap<string, StepNote>;
  /** Whether the event stream is connected; the state may be old when it is lost. */
  connection: 'live' | 'lost';
};

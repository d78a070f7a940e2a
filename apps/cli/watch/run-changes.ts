import type { StepView, WaitingReason } from '@cairn/contract';
import type { Look } from '../output/style.ts';
import { padTo } from '../output/table.ts';
import { formatDuration, plural, secondsBetween } from '../output/units.ts';
import { firstLine } from './attempt-table.ts';
import { failureText } from './run-lines.ts';
import { paintedRunState, paintedStepState, progressParts, resultParts, shareDone } from './step-text.ts';
import type { StepNote, WatchState } from './watch-state.ts';

export type ChangeOptions = Look & {
  now: Date;
  /** The time of the previous state; null at the first. */
  previousAt: Date | null;
  /** The time at the beginning of each line. */
  clock: (at: Date) => string;
};

/**
 * The changes between two states of a run, one line each, for output that is not a terminal: states, new attempts, why a
 * step waits, each quarter of its progress and, for a long one, its progress every few minutes. `before` is null at the first state.
 */
export function runChanges(before: WatchState | null, after: WatchState, options: ChangeOptions): string[] {
  const { run } = after;
  const { style } = options;
  const nameWidth = Math.min(28, Math.max(...run.stepViews.map((step) => step.name.length), run.name.length));
  const line = (subject: string, text: string): string => `${style.dim(options.clock(options.now))}  ${padTo(subject, nameWidth)}  ${text}`;
  const lines: string[] = [];
  if (before === null || before.run.state !== run.state) lines.push(line(run.name, runText(before, after, options)));
  for (const step of run.stepViews) {
    const earlier = before?.run.stepViews.find(({ name }) => name === step.name) ?? null;
    for (const text of stepTexts(earlier, step, after, options)) lines.push(line(step.name, text));
    const note = noteText(before?.notes.get(step.name), after.notes.get(step.name));
    if (note !== null && step.state === 'active') lines.push(line(step.name, style.warn(note)));
  }
  if (before !== null && before.connection !== after.connection) {
    lines.push(line(run.name, after.connection === 'lost' ? 'the service does not answer; retrying' : 'the service answers again'));
  }
  return lines;
}

function runText(before: WatchState | null, { run }: WatchState, options: ChangeOptions): string {
  const cause = run.cause === null ? '' : ` (${run.cause})`;
  const what = before === null ? `, ${run.recipe} on ${run.dataset}, ${plural(run.steps.total, 'step')}` : '';
  return `${paintedRunState(run.state, options)}${cause}${what}`;
}

/** Reasons that pass by themselves in a moment, and those that the states of other steps show already. */
const quietReasons: readonly WaitingReason['code'][] = ['dependencies', 'launching', 'finalizing'];

function newsOf(waiting: WaitingReason | null): string | null {
  return waiting === null || quietReasons.includes(waiting.code) ? null : waiting.sentence;
}

function stepTexts(before: StepView | null, step: StepView, after: WatchState, options: ChangeOptions): string[] {
  const state = paintedStepState(step.state, options);
  if (before?.state !== step.state) {
    if (step.state === 'blocked') return [];
    const [first = '', ...rest] = stateTexts(step, options);
    return [[state, first].join('  ').trimEnd(), ...rest];
  }
  if (step.state === 'active' && before.attempts !== step.attempts && step.attempts > 1) return [`attempt ${step.attempts}`];
  const quarter = quarterOf(step);
  if (step.state === 'active' && quarter > 0 && quarter > quarterOf(before)) {
    return [[`${quarter * 25} %`, ...progressParts(step, after.metrics.get(step.name))].join('  ')];
  }
  if (step.state === 'active' && step.progress !== null && isProgressDue(step, options)) {
    return [[`${Math.floor((shareDone(step) ?? 0) * 100)} %`, ...progressParts(step, after.metrics.get(step.name))].join('  ')];
  }
  const news = newsOf(step.waiting);
  // The seconds of a backoff count down: not a change.
  const isCountdown = step.waiting?.code === 'backoff' && before.waiting?.code === 'backoff';
  return news !== null && news !== newsOf(before.waiting) && !isCountdown ? [news] : [];
}

/** A warning, once; the note after one, for example that it is over. */
function noteText(before: StepNote | undefined, after: StepNote | undefined): string | null {
  if (after === undefined || after.seq === before?.seq) return null;
  return after.level === 'warning' || before?.level === 'warning' ? after.message : null;
}

/** The details of a new state, in lines. */
function stateTexts(step: StepView, options: ChangeOptions): string[] {
  switch (step.state) {
    case 'ready': {
      // A step that was tried before and failed waits for a retry.
      const failed = step.failure === null ? [] : [`the last attempt failed (${step.failure.cause}): ${firstLine(step.failure.message)}`];
      return [newsOf(step.waiting) ?? '', ...failed];
    }
    case 'active':
      return [step.attempts > 1 ? `attempt ${step.attempts}` : ''];
    case 'failed':
      return failureText(step);
    case 'succeeded': {
      const took = step.startedAt === null ? [] : [formatDuration(secondsBetween(step.startedAt, step.finishedAt, options.now))];
      return [[...took, ...resultParts(step, options)].join('  ')];
    }
    default:
      return [resultParts(step, options).join('  ')];
  }
}

/** How often a step prints its progress, in addition to the quarters: CI systems end a job without output after ten minutes or so. */
const progressEverySeconds = 120;

/** True when a multiple of that time since the step's start is between the two states. */
function isProgressDue({ startedAt }: StepView, { previousAt, now }: ChangeOptions): boolean {
  if (startedAt === null || previousAt === null) return false;
  const times = (at: Date): number => Math.floor(secondsBetween(startedAt, null, at) / progressEverySeconds);
  return times(now) > times(previousAt);
}

/** Completed quarters, 0 to 3. */
function quarterOf(step: StepView): number {
  return Math.min(3, Math.floor((shareDone(step) ?? 0) * 4));
}

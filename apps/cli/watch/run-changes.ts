import type { CairnClient } from '@cairn/client';
import { type AttemptView, awaitsVerdict, type RunView, type StepView, type WaitingReason } from '@cairn/contract';
import type { Look } from '../output/style.ts';
import { padTo, tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatDuration, formatNumber, plural, secondsBetween } from '../output/units.ts';
import { failureText } from './run-lines.ts';
import { paintedRunState, paintedStepState, progressParts, resultParts, type StepNote, shareDone, type WatchState } from './step-text.ts';

type ChangeOptions = Look & {
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
  if (awaitsVerdict(run) && (!before || !awaitsVerdict(before.run))) lines.push(line(run.name, 'the gate is being judged'));
  const problem = awaitsVerdict(run) ? (run.gate?.problem ?? null) : null;
  if (problem !== null && problem !== before?.run.gate?.problem) lines.push(line(run.name, style.warn(problem)));
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

/** Whether a step waits as before: the seconds of a backoff count down, and while it waits for places, others take and leave them. */
function isSameWait(before: WaitingReason | null, after: WaitingReason | null): boolean {
  return sameWaits.some((codes) => [before, after].every((waiting) => waiting !== null && codes.includes(waiting.code)));
}
const sameWaits: readonly (readonly WaitingReason['code'][])[] = [['backoff'], ['capacity', 'behind']];

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
  return news !== null && news !== newsOf(before.waiting) && !isSameWait(before.waiting, step.waiting) ? [news] : [];
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

/** A fleet has many: the newest are enough. */
const maxShown = 12;

/** Attempts that say more than their step: of steps that run, failed, or were tried more than once. */
export async function notableAttempts(client: CairnClient, run: RunView, signal: AbortSignal): Promise<AttemptView[]> {
  const isNotable = ({ state, attempts }: StepView) => attempts > 1 || (attempts > 0 && ['active', 'ready', 'failed'].includes(state));
  const lists = await Promise.all(
    run.stepViews.filter(isNotable).map(async ({ name, shards }) => {
      const { items } = await client.listAttempts(run.id, name, { signal });
      // A fleet's attempts come and go: those that succeeded are not interesting.
      return (shards !== null ? items.filter(({ state }) => state !== 'succeeded') : items).slice(-maxShown);
    }),
  );
  return lists.flat();
}

/** A table of attempts: where each ran, for how long, why it ended, the checkpoint it resumed from. Empty without attempts. */
export function attemptTable(attempts: readonly AttemptView[], { style, now }: Pick<Ui, 'style'> & { now: Date }): string[] {
  if (attempts.length === 0) return [];
  const rows = attempts.map((attempt) => [
    `${attempt.step}/${attempt.ordinal}`,
    attempt.state,
    attempt.startedAt === null ? '' : formatDuration(secondsBetween(attempt.startedAt, attempt.endedAt, now)),
    [
      ...(attempt.purpose === 'finalize' ? ['makes the artifact'] : []),
      ...newsOfAttempt(attempt, now),
      ...lossOf(attempt, attempts),
      ...(attempt.place === null ? [] : [style.dim(attempt.place)]),
    ].join('; '),
  ]);
  const columns = [{ title: 'attempt' }, { title: 'state' }, { title: 'time', align: 'right' as const }, { title: 'what happened' }];
  return ['', ...tableLines(columns, rows, { heading: style.dim })];
}

function newsOfAttempt({ failure, finding, contact, lastContactAt, resumedFrom, endedAt }: AttemptView, now: Date): string[] {
  const isSilent = endedAt === null && contact === 'silent';
  return [
    ...(failure === null ? [] : [`${failure.cause}: ${firstLine(failure.message)}`]),
    ...(finding === null ? [] : [finding.message]),
    ...(isSilent && lastContactAt !== null ? [`silent for ${formatDuration(secondsBetween(lastContactAt, null, now))}`] : []),
    ...(resumedFrom === null ? [] : [`resumed from the checkpoint of step ${resumedFrom.step}, epoch ${formatNumber(resumedFrom.epoch)}`]),
  ];
}

/** The steps of an earlier attempt beyond the checkpoint that this one resumed from. */
function lossOf({ step, ordinal, resumedFrom }: AttemptView, attempts: readonly AttemptView[]): string[] {
  const before = attempts.findLast((other) => other.step === step && other.ordinal < ordinal && other.reachedStep !== null);
  if (resumedFrom === null || !before) return [];
  const lost = (before.reachedStep ?? 0) - resumedFrom.step;
  return [lost > 0 ? `${plural(lost, 'step')} of ${step}/${before.ordinal} lost` : `nothing of ${step}/${before.ordinal} lost`];
}

/** The first line of a message, without the colon, or the sentence with a colon, that introduces the next. */
export const firstLine = (message: string): string => (message.split('\n')[0] ?? '').replace(/(?:\. [^.]*)?:$/, '');

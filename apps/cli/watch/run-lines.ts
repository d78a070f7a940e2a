import {
  awaitsVerdict,
  type ErrorRow,
  errorTable,
  isEndedRun,
  isEndedStep,
  type Judgement,
  type RunGateView,
  type StepView,
} from '@cairn/contract';
import { bar } from '../output/live-screen.ts';
import type { Look } from '../output/style.ts';
import { cutTo, padTo, visibleWidth } from '../output/table.ts';
import { formatDuration, formatPercent, formatRunning, plural, secondsBetween } from '../output/units.ts';
import { paintedRunState, progressParts, resultParts, shareDone, stepSign, type WatchState } from './step-text.ts';

export type ViewOptions = Look & {
  now: Date;
  /** Columns of the terminal. */
  width: number;
  /** Rows of the terminal: finished steps are folded when the view would not fit. */
  height: number;
  /** Increases with each redraw: animates the symbols of active steps. */
  tick: number;
};

/** As wide as `59 min 59 s`. */
const timeWidth = 11;

/** The live view of a run: a line for the run and one for each step. Pure: the same state and options give the same lines. */
export function runLines(state: WatchState, options: ViewOptions): string[] {
  const { run } = state;
  const nameWidth = Math.min(28, Math.max(...run.stepViews.map((step) => step.name.length), 4));
  const steps = fitting(run.stepViews, options.height - 4);
  const folded = run.stepViews.length - steps.length;
  return [
    headLine(state, options),
    '',
    ...(folded > 0 ? [options.style.dim(`  ${plural(folded, 'step')} not shown`)] : []),
    ...steps.map((step) => stepLine(step, state, nameWidth, options)),
    ...warningLines(run.stepViews, state.notes, options),
    ...failureLines(run.stepViews, options),
    ...(awaitsVerdict(run) && run.gate?.problem ? ['', options.style.warn(run.gate.problem)] : []),
    ...(state.connection === 'lost'
      ? ['', options.style.warn('The service does not answer; retrying. The run continues without this view.')]
      : []),
  ].map((line) => cutTo(line, options.width - 1, options.glyphs.ellipsis));
}

function headLine({ run }: WatchState, { style, glyphs, now }: ViewOptions): string {
  const since = run.startedAt ?? run.createdAt;
  const time = timeText(since, run.finishedAt, now);
  const done = `${run.steps.done} of ${plural(run.steps.total, 'step')}${run.steps.reused > 0 ? `, ${run.steps.reused} reused` : ''}`;
  const cause = run.cause === null ? '' : ` (${run.cause})`;
  const verdict = awaitsVerdict(run) ? ['gate is being judged'] : run.verdict === 'none' ? [] : [`gate ${run.verdict}`];
  const parts = [`${paintedRunState(run.state, { style })}${cause}`, time, done, `${run.recipe} on ${run.dataset}`, ...verdict];
  return `${style.bold(run.name)}  ${parts.join(style.dim(` ${glyphs.dot} `))}`;
}

/** A reused step took no time of its own, and one that waits for a retry takes none now. */
export function isTimeless(step: StepView): boolean {
  return step.state === 'reused' || step.state === 'ready';
}

function timeText(from: string, to: string | null, now: Date): string {
  const seconds = secondsBetween(from, to, now);
  return to === null ? formatRunning(seconds) : formatDuration(seconds);
}

function stepLine(step: StepView, state: WatchState, nameWidth: number, options: ViewOptions): string {
  const { style, now } = options;
  const name = padTo(step.name, nameWidth);
  const time = step.startedAt === null || isTimeless(step) ? '' : timeText(step.startedAt, step.finishedAt, now);
  const isQuiet = step.state === 'blocked' || step.state === 'ready';
  const head = `${stepSign(step.state, options, options.tick)} ${isQuiet ? style.dim(name) : name}  ${padTo(time, timeWidth, 'right')}  `;
  return head + fitParts(partsOf(step, state, options), options.width - 1 - visibleWidth(head));
}

function partsOf(step: StepView, state: WatchState, options: ViewOptions): string[] {
  const { style } = options;
  if (step.state === 'reused') return [style.good('reused'), ...resultParts(step, options)];
  if (isEndedStep(step.state)) return step.state === 'succeeded' ? resultParts(step, options) : [step.state];
  const waiting = step.waiting === null ? [] : [style.dim(step.waiting.sentence)];
  if (step.state !== 'active') return waiting.length > 0 ? waiting : [style.dim(step.state)];
  const share = shareDone(step);
  const parts = progressParts(step, state.metrics.get(step.name));
  if (share === null) return waiting.length > 0 ? waiting : parts.length > 0 ? parts : [style.dim('starting')];
  return [`${bar(share, 20, options)} ${padTo(`${Math.floor(share * 100)} %`, 5, 'right')}`, ...parts, ...waiting];
}

/** As many of the parts as fit the width, in order; at least one, which the caller cuts. */
function fitParts(parts: readonly string[], width: number): string {
  let line = '';
  for (const part of parts) {
    const longer = line === '' ? part : `${line}  ${part}`;
    if (line !== '' && visibleWidth(longer) > width) break;
    line = longer;
  }
  return line;
}

/** At most `rows` steps: finished ones are left out first, the oldest of them first, then the last blocked ones. */
function fitting(steps: readonly StepView[], rows: number): StepView[] {
  const left = [...steps];
  const drop = (index: number): boolean => index >= 0 && left.splice(index, 1).length > 0;
  while (left.length > Math.max(1, rows)) {
    if (drop(left.findIndex((step) => isEndedStep(step.state) && step.state !== 'failed'))) continue;
    if (drop(left.findLastIndex((step) => step.state === 'blocked'))) continue;
    left.pop();
  }
  return left;
}

/** The warnings of active steps, one line each. */
export function warningLines(steps: readonly StepView[], notes: WatchState['notes'], { style }: Pick<Look, 'style'>): string[] {
  const lines = steps.flatMap((step) => {
    const note = notes.get(step.name);
    return step.state === 'active' && note?.level === 'warning' ? [style.warn(`${step.name}: ${note.message}`)] : [];
  });
  return lines.length > 0 ? ['', ...lines] : [];
}

function failureLines(steps: readonly StepView[], { style }: ViewOptions): string[] {
  const failed = steps.filter((step) => step.failure !== null && step.state === 'failed');
  return failed.flatMap((step) => ['', ...failureText(step).map((line) => style.bad(line))]);
}

/** A step's failure in a few lines: what failed, with which code, the message, and what a person can do. */
export function failureText(step: StepView): string[] {
  if (step.failure === null) return [];
  const { cause, code, message } = step.failure;
  const [first = '', ...rest] = message.trim().split('\n');
  return [`${step.name} failed (${cause}, ${code}): ${first}`, ...rest.slice(-8).map((line) => `  ${line}`), ...hintLines(code)];
}

function hintLines(code: string): string[] {
  const row = new Map<string, ErrorRow>(Object.entries(errorTable)).get(code);
  return row === undefined || row.fix === 'cairn' ? [] : [`  hint: ${row.remedy}`];
}

/** The line about the end of a run, and its failed steps. */
export function endLines(state: WatchState, options: Look & { now: Date }): string[] {
  const { run } = state;
  if (!isEndedRun(run.state)) return [];
  const { style } = options;
  const time = formatDuration(secondsBetween(run.startedAt ?? run.createdAt, run.finishedAt, options.now));
  const reused = run.steps.reused > 0 ? `; ${run.steps.reused} of ${plural(run.steps.total, 'step')} reused` : '';
  const gate = run.verdict === 'none' ? '' : `; quality gate ${run.verdict}`;
  return [
    `${style.bold(run.name)} ${paintedRunState(run.state, { style })} after ${time}${reused}${gate}`,
    ...gateLines(run.gate, options),
  ];
}

/** What a gate decided: the verdict, the reason, and the queries that lost most unless it passed. */
export function judgementLines({ verdict, gate, reason, lost }: Judgement, { style }: Pick<Look, 'style'>): string[] {
  const paint = { passed: style.good, failed: style.bad, inconclusive: style.warn }[verdict];
  const losses = lost.map(({ queryId, a, b }) => `${queryId} (${formatPercent(a)} to ${formatPercent(b)})`);
  return [
    `${paint(`Gate ${verdict}`)}: ${gate}`,
    reason,
    ...(verdict === 'passed' || losses.length === 0 ? [] : [`Queries that lost most: ${losses.join(', ')}`]),
  ];
}

/** What became of the gate of a run. */
function gateLines(gate: RunGateView | null, look: Pick<Look, 'style'>): string[] {
  if (gate?.state === 'refused') return [`${look.style.bad('Gate not judged')}: ${gate.gate}`, gate.problem ?? ''];
  if (gate?.judgement == null) return [];
  const { promotion } = gate.judgement;
  const moved = promotion === null ? [] : [promotion.outcome === 'kept' ? look.style.warn(promotion.reason) : promotion.reason];
  return [...judgementLines(gate.judgement, look), ...moved];
}

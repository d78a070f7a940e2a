import { type RunTimeline, timelineSpan, waitForRoom } from '@cairn/contract';
import type { Registrar, Session } from '../cli.ts';
import { findRun } from '../find-run.ts';
import type { Look } from '../output/style.ts';
import { tableLines } from '../output/table.ts';
import { formatCount, formatDuration, plural } from '../output/units.ts';
import { firstLine } from '../watch/run-changes.ts';
import { stepSign } from '../watch/step-text.ts';

export function addTimeline({ program, action }: Registrar): void {
  program
    .command('timeline <run>')
    .description('shows when each step of a run waited for room, and when each of its attempts worked')
    .action(action(timeline));
}

async function timeline({ ui, signal, client }: Session, text: string): Promise<undefined> {
  const api = await client();
  const view = await api.getTimeline((await findRun(api, text, signal)).id, { signal });
  ui.json(view);
  for (const line of timelineLines(view, ui)) ui.line(line);
  const hidden = view.attemptsTotal - view.attempts.length;
  if (hidden > 0) ui.note(ui.style.dim(`Without the ${formatCount(hidden)} oldest attempts.`));
  return undefined;
}

/** Characters of the bars. */
const barWidth = 30;
/** Attempts of a step: of a fleet with more of them, the newest. */
const shownAttempts = 20;

type Part = { from: string; to: string | null };

/** A table of the steps, each with its attempts below: times since the beginning of the run, and bars that begin and end with it. */
function timelineLines(view: RunTimeline, look: Look): string[] {
  const { style, glyphs } = look;
  const { beginMs, endMs } = timelineSpan(view);
  const msOf = (at: string | null): number => (at === null ? endMs : Date.parse(at));
  const duration = ({ from, to }: Part): string => formatDuration((msOf(to) - msOf(from)) / 1000);
  const since = (at: string): string => formatDuration((msOf(at) - beginMs) / 1000);
  const column = (at: string | null): number => Math.round(((msOf(at) - beginMs) / (endMs - beginMs)) * barWidth);
  /** At least one character, wherever it begins. */
  const bar = ({ from, to }: Part, character: string): string => {
    const start = Math.min(column(from), barWidth - 1);
    return ' '.repeat(start) + character.repeat(Math.max(1, column(to) - start));
  };
  const rows = view.steps.flatMap((step) => {
    const attempts = view.attempts.filter((attempt) => attempt.step === step.name);
    const shown = attempts.slice(-shownAttempts);
    const wait = waitForRoom(step, attempts);
    const worked = step.startedAt === null || attempts.length === 0 ? null : { from: step.startedAt, to: step.finishedAt };
    const begins = wait?.from ?? worked?.from;
    return [
      [
        `${stepSign(step.state, look)} ${step.name}`,
        step.state,
        begins === undefined ? '' : since(begins),
        wait === null ? '' : duration(wait),
        worked === null ? '' : duration(worked),
        wait === null ? '' : style.dim(bar(wait, glyphs.barEmpty)),
        attempts.length > shown.length ? `the newest ${shown.length} of ${plural(attempts.length, 'attempt')}:` : '',
      ],
      ...shown.map((attempt) => {
        const { ordinal, state, createdAt, startedAt, endedAt } = attempt;
        return [
          `    ${ordinal}`,
          state,
          since(createdAt),
          '',
          startedAt === null ? '' : duration({ from: startedAt, to: endedAt }),
          bar({ from: createdAt, to: endedAt }, glyphs.barFull),
          whatHappened(attempt),
        ];
      }),
    ];
  });
  const right = { align: 'right' as const };
  const columns = [
    { title: 'step, attempt' },
    { title: 'state' },
    { title: 'begins', ...right },
    { title: 'waited', ...right },
    { title: 'time', ...right },
    { title: formatDuration((endMs - beginMs) / 1000).padStart(barWidth) },
    { title: 'what happened' },
  ];
  return tableLines(columns, rows, { heading: style.dim });
}

const whatHappened = ({ purpose, place, failure, stopReason, resumedFrom }: RunTimeline['attempts'][number]): string =>
  [
    ...(purpose === 'finalize' ? ['makes the artifact'] : []),
    ...(place === null ? [] : [`on ${place}`]),
    ...(failure === null ? [] : [`${failure.cause}: ${firstLine(failure.message)}`]),
    ...(stopReason === null ? [] : [`stopped: ${stopReason}`]),
    ...(resumedFrom === null ? [] : [`resumed from step ${formatCount(resumedFrom.step)}`]),
  ].join('; ');

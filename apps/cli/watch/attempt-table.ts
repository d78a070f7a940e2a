import type { CairnClient } from '@cairn/client';
import type { AttemptView, RunView, StepView } from '@cairn/contract';
import { tableLines } from '../output/table.ts';
import type { Ui } from '../output/ui.ts';
import { formatDuration, formatNumber, plural, secondsBetween } from '../output/units.ts';

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
      ...newsOf(attempt, now),
      ...lossOf(attempt, attempts),
      ...(attempt.place === null ? [] : [style.dim(attempt.place)]),
    ].join('; '),
  ]);
  const columns = [{ title: 'attempt' }, { title: 'state' }, { title: 'time', align: 'right' as const }, { title: 'what happened' }];
  return ['', ...tableLines(columns, rows, { heading: style.dim })];
}

function newsOf({ failure, finding, contact, lastContactAt, resumedFrom, endedAt }: AttemptView, now: Date): string[] {
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

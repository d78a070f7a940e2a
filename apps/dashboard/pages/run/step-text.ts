import type { ProgressView, StepView } from '@cairn/contract';
import { formatCount, formatDuration, formatMap } from '../../parts/numbers.ts';

/** How far a step is, 0 to 1: by its images or its shards, whichever is further; null while unknown. */
export function shareOf({ shards, progress }: Pick<StepView, 'shards' | 'progress'>): number | null {
  const byShards = shards === null || shards.total === 0 ? null : shards.committed / shards.total;
  const byUnits = progress === null || progress.total <= 0 ? null : progress.done / progress.total;
  return byShards === null ? byUnits : Math.max(byShards, byUnits ?? 0);
}

const rateUnits = { images: 'images/s', steps: 'steps/s', rows: 'rows/s', files: 'files/s', shards: 'shards/s' } as const satisfies Record<
  ProgressView['unit'],
  string
>;

/** What an active step has done and how fast: `12 of 40 shards, 812 images/s, 3 min 5 s left`. */
export function progressText({ shards, progress }: Pick<StepView, 'shards' | 'progress'>): string {
  const parts = [];
  if (shards !== null) parts.push(`${formatCount(shards.committed)} of ${formatCount(shards.total)} shards`);
  if (progress !== null) {
    const { done, total, unit, rate, rateUnit, etaSeconds, message } = progress;
    // A program's own message says how far it is and how fast; that of a fleet's worker is about itself alone.
    if (message !== '' && shards === null) parts.push(message);
    else {
      if (rate !== null) parts.push(`${rate < 10 ? rate.toFixed(1) : formatCount(Math.round(rate))} ${rateUnits[rateUnit ?? unit]}`);
      if (total > 0) parts.push(`${formatCount(done)} of ${formatCount(total)} ${unit}`);
    }
    if (etaSeconds !== null) parts.push(`${formatDuration(etaSeconds * 1000)} left`);
  }
  return parts.join(', ');
}

/** What a step has achieved: `mAP@100 21.7 % → 68.3 %`, `4,925,110 rows, 12 rejected`. */
export function resultText({ scores, shards }: Pick<StepView, 'scores' | 'shards'>): string {
  const start = scores['mapAt100.start'];
  const end = scores['mapAt100.end'] ?? scores.mapAt100 ?? scores['mapAt100.epoch'];
  const { 'mapAt100.low': low, 'mapAt100.high': high } = scores;
  const interval = low === undefined || high === undefined ? '' : ` (95 % interval ${formatMap(low)} to ${formatMap(high)})`;
  const parts = [];
  if (end !== undefined) parts.push(`mAP@100 ${start === undefined ? '' : `${formatMap(start)} → `}${formatMap(end)}${interval}`);
  else if (start !== undefined) parts.push(`mAP@100 ${formatMap(start)} at the start`);
  if (shards !== null && shards.committed > 0)
    parts.push(`${formatCount(shards.rows)} rows in ${formatCount(shards.committed)} ${shards.committed === 1 ? 'shard' : 'shards'}`);
  if (shards !== null && shards.rejected > 0) parts.push(`${formatCount(shards.rejected)} rejected`);
  return parts.join(', ');
}

/** A sentence cut at the names that it has, longest first: `384` is not a name in `384_finetune`. `name` is null for what is between. */
export function partsOf(sentence: string, names: readonly string[]): { at: number; text: string; name: string | null }[] {
  if (names.length === 0) return [{ at: 0, text: sentence, name: null }];
  const escaped = names.toSorted((a, b) => b.length - a.length).map((name) => name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  // Split by a group, so every second part is a name.
  const texts = sentence.split(new RegExp(`(?<![\\w.-])(${escaped.join('|')})(?![\\w-])`));
  let at = 0;
  return texts.map((text, index) => {
    const part = { at, text, name: index % 2 === 1 ? text : null };
    at += text.length;
    return part;
  });
}

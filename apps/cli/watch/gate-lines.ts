import type { Judgement, RunGateView } from '@cairn/contract';
import type { Look } from '../output/style.ts';
import { formatPercent } from '../output/units.ts';

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
export function gateLines(gate: RunGateView | null, look: Pick<Look, 'style'>): string[] {
  if (gate?.state === 'refused') return [`${look.style.bad('Gate not judged')}: ${gate.gate}`, gate.problem ?? ''];
  if (gate?.judgement == null) return [];
  const { promotion } = gate.judgement;
  const moved = promotion === null ? [] : [promotion.outcome === 'kept' ? look.style.warn(promotion.reason) : promotion.reason];
  return [...judgementLines(gate.judgement, look), ...moved];
}

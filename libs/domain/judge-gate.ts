import type { Gate, GateVerdict, Judgement } from '@cairn/contract';

/** What is known about the judged model and its baseline; averages from 0 to 1. */
export type GateFacts = {
  queries: number;
  value: number;
  baselineValue: number;
  /** The 95 % interval of value - baselineValue. */
  low: number;
  high: number;
  /** How sentences call the baseline, such as `landmark@7 (production)`; null for a fixed value. */
  baselineName: string | null;
};

export type GateDecision = Pick<Judgement, 'verdict' | 'reason' | 'difference' | 'limit'>;

/**
 * Decides a gate. By the interval a model passes if all of its interval is at or above the limit, and fails if all of it is below: with few
 * queries neither may hold, which is inconclusive. One query has no interval: drawn with replacement it is always itself. By the mean alone
 * there is no such verdict.
 */
export function judgeGate({ metric, tolerance }: Gate, by: Judgement['by'], minQueries: number, facts: GateFacts): GateDecision {
  const { queries, value, baselineValue, low, high, baselineName } = facts;
  const difference = value - baselineValue;
  const accepted = tolerance.unit === 'points' ? tolerance.amount / 100 : (tolerance.amount / 100) * baselineValue;
  const limit = accepted === 0 ? 0 : -accepted;
  const measured =
    baselineName === null
      ? `${metric} is ${percent(value)}, ${points(difference)} from the ${percent(baselineValue)} that are required`
      : `${metric} is ${percent(value)}, ${points(difference)} from the ${percent(baselineValue)} of ${baselineName}`;
  const over = queries === 1 ? 'over 1 query' : `with a 95 % interval from ${points(low)} to ${points(high)} over ${queries} queries`;
  const decide = (verdict: GateVerdict, why: string): GateDecision => ({
    verdict,
    reason: `${measured}, ${over}. ${why}`,
    difference,
    limit,
  });
  const accept = limit === 0 ? 'No loss is accepted' : `A loss of ${points(accepted).replace('+', '')} is accepted`;
  if (queries < minQueries) return decide('inconclusive', `Too few queries: at least ${minQueries} are required.`);
  if (by === 'mean') {
    return difference >= limit
      ? decide('passed', `${accept}: the difference is within it.`)
      : decide('failed', `${accept}: the difference is beyond it.`);
  }
  if (queries === 1) return decide('inconclusive', `${accept}: one query has no interval, so it does not decide.`);
  if (low >= limit) return decide('passed', `${accept}: the whole interval is within it.`);
  if (high < limit) return decide('failed', `${accept}: the whole interval is beyond it.`);
  return decide('inconclusive', `${accept}: the interval contains the limit, so the queries do not decide.`);
}

const percent = (share: number): string => `${(share * 100).toFixed(2)} %`;
const points = (share: number): string => `${share < 0 ? '-' : '+'}${Math.abs(share * 100).toFixed(2)} points`;

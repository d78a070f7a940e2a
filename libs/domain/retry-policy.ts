import { type AttemptCause, attemptCause } from '@cairn/contract';

/** How often a step is retried after an attempt failed for a cause, and the delay before each retry. */
export type RetryBudget = { retries: number; baseMs: number; maxMs: number };

/**
 * One budget per cause. A retry cannot fix a user's mistake or bad data; a preemption is nobody's fault and costs nothing; infrastructure
 * failures are retried a few times.
 */
export const retryBudgets = {
  user: { retries: 0, baseMs: 0, maxMs: 0 },
  data: { retries: 0, baseMs: 0, maxMs: 0 },
  deadline: { retries: 0, baseMs: 0, maxMs: 0 },
  infrastructure: { retries: 5, baseMs: 250, maxMs: 60_000 },
  gpu: { retries: 3, baseMs: 1_000, maxMs: 60_000 },
  preemption: { retries: Number.POSITIVE_INFINITY, baseMs: 250, maxMs: 30_000 },
} as const satisfies Record<AttemptCause, RetryBudget>;

/** Failed attempts of a step, by cause. */
export type FailureCounts = Partial<Record<AttemptCause, number>>;

/** The cause whose retry budget the step has exceeded, or null while it can be retried. */
export function exhaustedCause(failures: FailureCounts): AttemptCause | null {
  for (const cause of attemptCause.options) if ((failures[cause] ?? 0) > retryBudgets[cause].retries) return cause;
  return null;
}

/** Milliseconds before the next attempt after the `nth` failure (from 1) of a cause; doubles each time up to a limit. */
export function retryDelayMs(cause: AttemptCause, nth: number): number {
  const { baseMs, maxMs } = retryBudgets[cause];
  return Math.min(maxMs, baseMs * 2 ** Math.min(nth - 1, 20));
}
